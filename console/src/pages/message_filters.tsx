/** What narrows a list of messages: all of it is in the address. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { dispatch, providers as providerClient } from "../api/clients.ts";
import { failureOf } from "../api/errors.ts";
import { channels, states } from "../api/words.ts";
import { navigate, setQuery } from "../app/router.tsx";
import { may } from "../app/session.ts";
import { countParts, EVERYTHING, type Filter, filterQuery, parseLabel } from "../live/message_filter.ts";
import { Chips, Removable } from "../ui/chips.tsx";
import { Icon } from "../ui/icon.tsx";

const SPANS = [
  { word: "15 min", ms: 15 * 60_000 },
  { word: "1 h", ms: 3_600_000 },
  { word: "24 h", ms: 86_400_000 },
] as const;

export function Filters({ filter, seen }: { filter: Filter; seen: readonly string[] }) {
  const given = countParts(filter);
  const rare = countParts({ ...filter, states: [], channels: [] });
  const open = useSignal(rare > 0);
  const change = (changes: Partial<Filter>) => setQuery({ ...filterQuery({ ...filter, ...changes }) });
  return (
    <section class="panel message-filters" aria-label="Filters">
      <div class="filters-first">
        <Search />
        <button
          type="button"
          class="button"
          aria-expanded={open.value}
          aria-controls="filters-rare"
          onClick={() => {
            open.value = !open.value;
          }}
        >
          {open.value ? "Fewer" : "More"} filters{!open.value && rare > 0 && ` (${rare})`}
        </button>
        {given > 0 && (
          <button type="button" class="button" onClick={() => change(EVERYTHING)}>
            Clear filters
          </button>
        )}
      </div>
      <div class="filters-row">
        <Chips
          name="State"
          choices={states.all}
          chosen={filter.states}
          onChange={(chosen) => change({ states: chosen })}
        />
        <Chips
          name="Channel"
          choices={channels.all}
          chosen={filter.channels}
          onChange={(chosen) => change({ channels: chosen })}
        />
      </div>
      <div id="filters-rare" class="filters-row" hidden={!open.value}>
        <Providers filter={filter} seen={seen} change={change} />
        <Accepted filter={filter} change={change} />
        <Labels filter={filter} change={change} />
        <RequestIds filter={filter} change={change} />
      </div>
    </section>
  );
}

interface PartProps {
  filter: Filter;
  change: (changes: Partial<Filter>) => void;
}

/** Goes to one message, by the id that the service or its caller gave it. */
function Search() {
  const text = useSignal("");
  const problem = useSignal("");
  const running = useSignal(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    const given = text.value.trim();
    if (!given || running.value) return;
    running.value = true;
    problem.value = "";
    try {
      const id = await find(given);
      if (id) navigate(`messages/${id}`);
      else problem.value = "There is no message with this id or request id.";
    } catch (error) {
      problem.value = failureOf(error).text;
    } finally {
      running.value = false;
    }
  };
  return (
    <search class="search">
      <form onSubmit={submit}>
        <div class="search-field">
          <Icon name="search" />
          <input
            id="search"
            name="search"
            type="search"
            aria-label="Message id or request id"
            placeholder="Message id or request id"
            maxLength={128}
            autocomplete="off"
            spellcheck={false}
            aria-invalid={problem.value !== ""}
            aria-describedby="search-problem"
            value={text.value}
            onInput={(event) => {
              text.value = event.currentTarget.value;
              problem.value = "";
            }}
          />
          <button type="submit" class="button" disabled={running.value}>
            Open
          </button>
        </div>
        <p id="search-problem" class="field-problem" role="status">
          {problem.value && (
            <>
              <Icon name="warning" /> {problem.value}
            </>
          )}
        </p>
      </form>
    </search>
  );
}

const MESSAGE_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The id of the message that has this id or request id; a request id may look like the other as well. */
async function find(text: string): Promise<string | undefined> {
  const asked = MESSAGE_ID.test(text) ? [{ messageId: text }, { requestId: text }] : [{ requestId: text }];
  for (const request of asked) {
    try {
      return (await dispatch.getMessage(request)).message?.messageId;
    } catch (error) {
      if (failureOf(error).code !== "NOT_FOUND") throw error;
    }
  }
  return undefined;
}

function Providers({ filter, seen, change }: PartProps & { seen: readonly string[] }) {
  const declared = useSignal<readonly string[]>([]);
  const allowed = may("operate");
  useEffect(() => {
    if (!allowed) return;
    // Where it does not answer, those that were seen are offered, and the list says what is wrong.
    providerClient.listProviders({}).then(
      ({ providers }) => {
        declared.value = providers.map((provider) => provider.name);
      },
      () => {},
    );
  }, [allowed, declared]);
  const names = [...new Set([...declared.value, ...seen, ...filter.providers])].filter(Boolean);
  if (names.length === 0) return null;
  return (
    <Chips
      name="Provider of the last attempt"
      choices={names.map((name) => ({ value: name, word: name }))}
      chosen={filter.providers}
      onChange={(chosen) => change({ providers: chosen })}
    />
  );
}

function Accepted({ filter, change }: PartProps) {
  return (
    <fieldset class="chips">
      <legend>Accepted</legend>
      <div>
        <TimeInput name="from" value={filter.from} onChange={(from) => change({ from })} />
        <TimeInput name="to" value={filter.to} onChange={(to) => change({ to })} />
        {SPANS.map(({ word, ms }) => (
          <button
            key={word}
            type="button"
            class="button button-small"
            onClick={() => change({ from: Math.floor(Date.now() / 1_000) * 1_000 - ms, to: undefined })}
          >
            Last {word}
          </button>
        ))}
      </div>
    </fieldset>
  );
}

interface TimeInputProps {
  name: string;
  value: number | undefined;
  onChange: (time: number | undefined) => void;
}

function TimeInput({ name, value, onChange }: TimeInputProps) {
  return (
    <label class="inline-field">
      {name}
      <input
        type="datetime-local"
        step="1"
        value={value === undefined ? "" : localText(value)}
        onChange={(event) => {
          const time = Date.parse(event.currentTarget.value);
          onChange(Number.isNaN(time) ? undefined : time);
        }}
      />
    </label>
  );
}

/** A time as such an input wants it: in the reader's own zone, which it does not name. */
function localText(time: number): string {
  return new Date(time - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function Labels({ filter, change }: PartProps) {
  const text = useSignal("");
  const wrong = useSignal(false);
  const add = (event: Event) => {
    event.preventDefault();
    const label = parseLabel(text.value);
    wrong.value = !label;
    if (!label) return;
    change({ labels: { ...filter.labels, [label[0]]: label[1] } });
    text.value = "";
  };
  return (
    <form class="chips" onSubmit={add}>
      <fieldset class="chips">
        <legend>Labels</legend>
        <div>
          {Object.entries(filter.labels).map(([key, value]) => (
            <Removable
              key={key}
              what={`the label ${key}`}
              onRemove={() => {
                const { [key]: _, ...rest } = filter.labels;
                change({ labels: rest });
              }}
            >
              {`${key}=${value}`}
            </Removable>
          ))}
          <input
            class="short-input"
            name="label"
            aria-label="Label, as key=value"
            placeholder="team=billing"
            autocomplete="off"
            spellcheck={false}
            aria-invalid={wrong.value}
            value={text.value}
            onInput={(event) => {
              text.value = event.currentTarget.value;
              wrong.value = false;
            }}
          />
          <button type="submit" class="button button-small">
            Add
          </button>
          {wrong.value && (
            <p class="field-problem" role="alert">
              Write key=value.
            </p>
          )}
        </div>
      </fieldset>
    </form>
  );
}

function RequestIds({ filter, change }: PartProps) {
  const field = useRef<HTMLInputElement>(null);
  const submit = (event: Event) => {
    event.preventDefault();
    const given = (field.current?.value ?? "").split(/[\s,]+/).filter(Boolean);
    change({ requestIds: [...new Set([...filter.requestIds, ...given])] });
    if (field.current) field.current.value = "";
  };
  return (
    <form class="chips" onSubmit={submit}>
      <fieldset class="chips">
        <legend>Request ids</legend>
        <div>
          {filter.requestIds.map((id) => (
            <Removable
              key={id}
              what={`the request id ${id}`}
              onRemove={() => change({ requestIds: filter.requestIds.filter((other) => other !== id) })}
            >
              {id}
            </Removable>
          ))}
          <input
            ref={field}
            class="short-input"
            name="request_ids"
            aria-label="Request ids, with spaces between them"
            placeholder="order-4711 order-4712"
            autocomplete="off"
            spellcheck={false}
          />
          <button type="submit" class="button button-small">
            Add
          </button>
        </div>
      </fieldset>
    </form>
  );
}
