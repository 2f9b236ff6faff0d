/** Small pictures, drawn in the colour of the text around them. They say nothing that the text does not. */
const PATHS = {
  overview: "M2 13V9m4 4V4m4 9V7m4 6V2",
  providers: "M3 3h10v4H3zM3 9h10v4H3zM5.5 5h.01M5.5 11h.01",
  messages: "M2 3.5h12v7.5H7l-3 2.5V11H2z",
  route: "M3.5 12.5V8a2 2 0 0 1 2-2h5m0 0L8 3.500m2.500 2.500L8 8.500M12.500 3v6",
  compose: "M2.500 13.500l.8-3.200L10.800 2.800a1.400 1.400 0 0 1 2 0l.4.4a1.400 1.400 0 0 1 0 2L5.700 12.700z",
  inbox: "M2 9.500L4 3h8l2 6.500V13H2zM2 9.500h3.500c0 1.400 1.100 2.200 2.500 2.200s2.500-.8 2.500-2.200H14",
  suppressions: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM3.800 3.800l8.400 8.400",
  tenants: "M2.500 13.500V5L8 2l5.500 3v8.500M6 13.500v-3h4v3M5.500 7h.01M8 7h.01M10.500 7h.01",
  audit: "M4 2h8v12H4zM6 5h4M6 8h4M6 11h2",
  lock: "M4 7.500h8V13H4zM5.500 7.500V5a2.500 2.500 0 0 1 5 0v2.500",
  menu: "M2 4h12M2 8h12M2 12h12",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M6 6h7v7H6zM3 10V3h7",
  check: "M3 8.500l3.500 3.500L13 4.500",
  sun: "M8 5.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5zM8 1.500v1M8 13.500v1M1.500 8h1M13.500 8h1M3.400 3.400l.7.7M11.900 11.900l.7.7M12.600 3.400l-.7.7M4.100 11.900l-.7.7",
  moon: "M13 9.500A5.500 5.500 0 0 1 6.500 3 5.500 5.500 0 1 0 13 9.500z",
  system: "M2 3h12v8H2zM6 14h4M8 11v3",
  keyboard: "M1.500 4h13v8h-13zM4 6.500h.01M6.500 6.500h.01M9 6.500h.01M11.500 6.500h.01M5 9.500h6",
  out: "M6.500 13.500H3v-11h3.500M10 11l3-3-3-3M13 8H6.500",
  warning: "M8 2.500l6 10.500H2zM8 6.500v3M8 11.300h.01",
  external: "M9 3h4v4M13 3L7.500 8.500M11 9v4H3V5h4",
  play: "M5 3l8 5-8 5z",
  pause: "M5.500 3v10M10.500 3v10",
  refresh: "M13 3v3.500H9.500M3 13V9.500h3.500M12.600 6.500A5 5 0 0 0 4 4.800M3.400 9.500A5 5 0 0 0 12 11.200",
  search: "M7 2.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9zM10.300 10.300l3.200 3.200",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
