/** A chart of rates over time. What it draws is on a canvas, so that whoever uses it says the same in words beside it. */
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { formatClock } from "../api/times.ts";
import { shownTheme } from "../app/theme.ts";

export interface Line {
  name: string;
  /** The custom property that has its colour: `--series-sent`. */
  color: string;
  /** Told apart without colours, too. */
  dash?: number[];
  width?: number;
}

interface ChartProps {
  lines: readonly Line[];
  /** Times in seconds, and then the values of each line. */
  data: uPlot.AlignedData;
  /** All charts with the same key show the same time where the pointer is over one of them. */
  sync: string;
  /** Which point the pointer is at; undefined where it is at none. */
  onPoint?: (index: number | undefined) => void;
}

/** As its style has it. */
const HEIGHT = 208;

export function Chart({ lines, data, sync, onPoint }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(data);
  latest.current = data;
  const point = useRef(onPoint);
  point.current = onPoint;

  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    // A canvas does not follow the style: it is drawn anew in the colours of another theme.
    const end = effect(() => {
      shownTheme.value;
      plot.current?.destroy();
      const made = new uPlot(
        options(lines, sync, element, (index) => point.current?.(index)),
        latest.current,
        element,
      );
      plot.current = made;
    });
    const sized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    sized.observe(element);
    return () => {
      sized.disconnect();
      end();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [lines, sync]);

  useEffect(() => plot.current?.setData(data), [data]);

  return <div class="chart" ref={box} aria-hidden="true" />;
}

function options(
  lines: readonly Line[],
  sync: string,
  element: HTMLElement,
  onPoint: (index: number | undefined) => void,
): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const font = `11px ${style.getPropertyValue("--font")}`;
  const grid = { stroke: color("--border-soft"), width: 1 };
  const axis = { stroke: color("--text-muted"), font, grid, ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    padding: [8, 18, 0, 0],
    cursor: { sync: { key: sync }, drag: { x: false, y: false }, points: { size: 6 }, y: false },
    hooks: { setCursor: [(self) => onPoint(self.cursor.idx ?? undefined)] },
    scales: { y: { range: (_, __, max) => [0, niceTop(max)] } },
    axes: [
      { ...axis, space: 70, size: 24, gap: 4, values: (_, ticks) => ticks.map((tick) => formatClock(tick * 1_000)) },
      {
        ...axis,
        space: 34,
        size: (_, values) => Math.max(28, ...(values ?? []).map((value) => value.length * 7 + 10)),
        gap: 6,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6],
        values: (_, ticks) => ticks.map(short),
      },
    ],
    series: [
      {},
      ...lines.map(
        (line): uPlot.Series => ({
          label: line.name,
          stroke: color(line.color),
          width: line.width ?? 1.5,
          points: { show: false },
          ...(line.dash && { dash: line.dash }),
        }),
      ),
    ],
  };
}

/** Room above the highest point, and a scale that is not all of a chart for two messages. */
function niceTop(max: number | null): number {
  return Math.max(5, (max ?? 0) * 1.1);
}

function short(value: number): string {
  if (value >= 1e6) return `${value / 1e6}M`;
  return value >= 1e3 ? `${value / 1e3}k` : String(value);
}
