/** How many segments an SMS takes, as it is typed: 3GPP TS 23.038, section 6.2.1, and TS 23.040, section 9.2.3.24.1. The
 * server counts the same way; what a provider charges for is its own. */

const BASIC =
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
  "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/** Each takes two septets. */
const EXTENSION = "\f^{}\\[~]|€";

export interface Segments {
  encoding: "GSM 7-bit" | "UCS-2";
  /** How many there are: 1 at least. */
  count: number;
  /** How many more units fit into the last of them: septets, or code units of 16 bits. */
  left: number;
  /** The first character that has the text be UCS-2, if there is one. */
  cause: string | undefined;
}

export function segmentsOf(text: string): Segments {
  const characters = [...text];
  const cause = characters.find((one) => !BASIC.includes(one) && !EXTENSION.includes(one));
  const gsm = cause === undefined;
  const sizes = characters.map((one) => (gsm ? (EXTENSION.includes(one) ? 2 : 1) : one.length));
  const { count, left } = gsm ? fill(sizes, 160, 153) : fill(sizes, 70, 67);
  return { encoding: gsm ? "GSM 7-bit" : "UCS-2", count, left, cause };
}

/** Into how many segments characters go, by how many units each takes. What takes two is not cut: the next has it. */
function fill(sizes: readonly number[], whole: number, part: number): { count: number; left: number } {
  const units = sizes.reduce((sum, size) => sum + size, 0);
  if (units <= whole) return { count: 1, left: whole - units };
  let count = 1;
  let used = 0;
  for (const size of sizes) {
    if (used + size > part) {
      count += 1;
      used = 0;
    }
    used += size;
  }
  return { count, left: part - used };
}
