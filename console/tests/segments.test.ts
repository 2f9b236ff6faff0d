import assert from "node:assert/strict";
import { test } from "node:test";
import { segmentsOf } from "../src/pages/segments.ts";

const short = (text: string) => {
  const { encoding, count, left } = segmentsOf(text);
  return `${count} ${encoding} ${left}`;
};

test("a text of the alphabet has room for 160 septets, and then for 153 a segment", () => {
  assert.equal(short(""), "1 GSM 7-bit 160");
  assert.equal(short("a".repeat(160)), "1 GSM 7-bit 0");
  assert.equal(short("a".repeat(161)), "2 GSM 7-bit 145");
  assert.equal(short("a".repeat(306)), "2 GSM 7-bit 0");
  assert.equal(short("a".repeat(307)), "3 GSM 7-bit 152");
});

test("what is in the extension takes two, and is not cut", () => {
  assert.equal(short("€".repeat(80)), "1 GSM 7-bit 0");
  assert.equal(short("€".repeat(81)), "2 GSM 7-bit 143");
  assert.equal(short(`${"a".repeat(152)}€${"a".repeat(152)}`), "3 GSM 7-bit 152");
});

test("any other character has all of it be UCS-2", () => {
  assert.equal(short("ł".repeat(70)), "1 UCS-2 0");
  assert.equal(short("ł".repeat(71)), "2 UCS-2 63");
  assert.equal(short(`${"ł".repeat(66)}🙂${"ł".repeat(10)}`), "2 UCS-2 55");
  assert.equal(segmentsOf("Zażółć").cause, "ż");
  assert.equal(segmentsOf("plain").cause, undefined);
});
