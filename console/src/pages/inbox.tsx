import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { inbox as client } from "../api/clients.ts";
import { type Failure, failureOf } from "../api/errors.ts";
import { formatCount } from "../api/times.ts";
import { channels as channelWords } from "../api/words.ts";
import { query, setQuery } from "../app/router.tsx";
import { may, whyNot } from "../app/session.ts";
import type { InboxMessage } from "../gen/postwire/v1/inbox_service_pb.ts";
import { useFeed } from "../live/feeds.ts";
import { type Confirmation, ConfirmDialog } from "../ui/dialog.tsx";
import { Field } from "../ui/field.tsx";
import { notify } from "../ui/notices.tsx";
import { EmptyState, ErrorPanel, Loading, PageHeader } from "../ui/panels.tsx";
import { Refused } from "../ui/refused.tsx";
import { Opened, Row } from "./inbox_message.tsx";
import "./manage.css";
import "./inbox.css";

const PAGE = 100;
/** The server keeps no more. */
const MOST = 1_000;
/** For how long nothing is typed before it is searched for. */
const TYPING_MS = 250;

/** What is searched for stands in no address: it may be a recipient. */
export function InboxPage() {
  const to = useSignal("");
  const text = useSignal("");
  const filter = useSignal({ to: "", match: "" });
  const rows = useSignal<readonly InboxMessage[] | undefined>(undefined);
  const failure = useSignal<Failure | undefined>(undefined);
  const chosen = useSignal("");
  const asked = useSignal<Confirmation | undefined>(undefined);
  const channel = channelWords.parse(query.value.get("channel") ?? "");
  const opened = useComputed(() => rows.value?.find((one) => one.inboxMessageId === chosen.value));

  const typed = [to.value, text.value] as const;
  useEffect(() => {
    const timer = setTimeout(() => {
      const [address, words] = typed;
      if (address.trim() === filter.peek().to && words === filter.peek().match) return;
      filter.value = { to: address.trim(), match: words };
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, typed);

  const wanted = { ...filter.value, channels: channel === undefined ? [] : [channel] };
  useFeed(() => {
    let turn = 0;
    const reload = async () => {
      turn += 1;
      const mine = turn;
      try {
        const found: InboxMessage[] = [];
        let pageToken = "";
        do {
          const page = await client.listInbox({ filter: wanted, pageSize: PAGE, pageToken });
          if (mine !== turn) return;
          found.push(...page.messages);
          pageToken = page.nextPageToken;
        } while (pageToken && found.length < MOST);
        // What was taken while the list came stands before it.
        const known = new Set(found.map((one) => one.inboxMessageId));
        rows.value = [...arrived.filter((one) => !known.has(one.inboxMessageId)), ...found].slice(0, MOST);
        failure.value = undefined;
      } catch (error) {
        if (mine === turn) failure.value = failureOf(error);
      }
    };
    let arrived: readonly InboxMessage[] = [];
    return {
      open: (call) => client.watchInbox({ filter: wanted }, call),
      opened() {
        arrived = [];
        void reload();
      },
      received({ message }) {
        if (!message) return;
        arrived = [message, ...arrived].slice(0, MOST);
        if (rows.peek()) rows.value = [message, ...(rows.peek() ?? [])].slice(0, MOST);
      },
    };
  }, [wanted.to, wanted.match, channel]);

  const clear = () => {
    asked.value = {
      title: "Clear the inbox?",
      effect: (
        <p>
          Everything that simulated providers took for you is removed from the inbox of the node that answers, for
          everybody who looks. Messages and what became of them stay.
        </p>
      ),
      action: "Clear the inbox",
      danger: true,
      async run() {
        const { removed } = await client.clearInbox({});
        rows.value = [];
        chosen.value = "";
        notify(`${formatCount(removed)} removed.`);
      },
    };
  };

  return (
    <>
      <PageHeader title="Inbox">
        <span class="muted">What simulated providers “sent”</span>
        <button
          type="button"
          class="button"
          disabled={!may("send")}
          title={whyNot("send") || undefined}
          onClick={clear}
        >
          Clear
        </button>
      </PageHeader>
      <Refused />
      <search class="filters">
        <Field
          label="Search"
          placeholder="a text in it"
          value={text.value}
          onInput={(value) => {
            text.value = value;
          }}
        />
        <Field
          label="To"
          placeholder="anybody"
          value={to.value}
          onInput={(value) => {
            to.value = value;
          }}
        />
        <div class="field">
          <label for="inbox-channel">Channel</label>
          <select
            id="inbox-channel"
            value={channel === undefined ? "" : channelWords.of(channel)}
            onChange={(event) => setQuery({ channel: event.currentTarget.value })}
          >
            <option value="">any</option>
            {channelWords.all.map(({ word }) => (
              <option key={word} value={word}>
                {word}
              </option>
            ))}
          </select>
        </div>
      </search>
      {failure.value && <ErrorPanel failure={failure.value} />}
      {!rows.value && !failure.value && <Loading what="the inbox" />}
      {rows.value?.length === 0 && (
        <EmptyState title="Nothing is here.">
          The last 1,000 messages that mocks and sandboxes took are kept for an hour, in memory.
        </EmptyState>
      )}
      {rows.value && rows.value.length > 0 && (
        <div class={opened.value ? "inbox inbox-open" : "inbox"}>
          <ol class="inbox-list" aria-label="Messages, newest first">
            {rows.value.map((one) => (
              <li key={one.inboxMessageId}>
                <Row
                  message={one}
                  open={one.inboxMessageId === chosen.value}
                  onOpen={() => {
                    chosen.value = one.inboxMessageId === chosen.value ? "" : one.inboxMessageId;
                  }}
                />
              </li>
            ))}
          </ol>
          {opened.value && (
            <Opened
              key={opened.value.inboxMessageId}
              message={opened.value}
              onClose={() => {
                chosen.value = "";
              }}
            />
          )}
        </div>
      )}
      {asked.value && (
        <ConfirmDialog
          ask={asked.value}
          onClose={() => {
            asked.value = undefined;
          }}
        />
      )}
    </>
  );
}
