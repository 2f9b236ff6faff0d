// An SMS centre by node-smpp. It takes settings as its argument and further ones on its standard input, one JSON object
// a line; what happens to it is an object a line on its standard output. It ends with its standard input.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const smpp = require("smpp");

const settings = {
  port: 0,
  tls: null, // a file with a certificate and its key
  users: {}, // who may bind, and with which password
  receipts: null, // the state that receipts report, such as DELIVRD
  first: false, // receipts come before the response
  refuse: [], // {every, status}: each of so many is refused
  cut: 0, // at so many submissions every connection is cut, and what was not answered yet never is
  deaf: false, // does not answer submissions
  idle: false, // does not answer enquire_link
  ...JSON.parse(process.argv[2] ?? "{}"),
};

const tell = (event, facts = {}) => process.stdout.write(JSON.stringify({ event, ...facts }) + "\n");

const bound = new Set();
const parts = new Map();
let submitted = 0;
// Some of these look like decimal numbers in the hexadecimal form that the response has; receipts have them in decimal.
let last = 0x98f0;

function refusal() {
  submitted += 1;
  return settings.refuse.find(({ every }) => submitted % every === 0)?.status ?? 0;
}

function read(pdu) {
  const whole = pdu.message_payload ?? pdu.short_message;
  const text = typeof whole.message === "string" ? whole.message : whole.message.toString("latin1");
  const cut = (whole.udh ?? []).find((element) => element[0] === 0 || element[0] === 8);
  if (cut) {
    const reference = cut[0] === 0 ? cut[2] : cut.readUInt16BE(2);
    return { text, reference, part: cut[cut.length - 1], of: cut[cut.length - 2] };
  }
  if (pdu.sar_total_segments) {
    return { text, reference: pdu.sar_msg_ref_num, part: pdu.sar_segment_seqnum, of: pdu.sar_total_segments };
  }
  return { text, reference: null, part: 1, of: 1 };
}

function put_together(pdu, { text, reference, part, of }) {
  const key = JSON.stringify([pdu.source_addr, pdu.destination_addr, reference, of]);
  const all = of === 1 ? new Map() : (parts.get(key) ?? new Map());
  all.set(part, text);
  if (all.size < of) return parts.set(key, all);
  parts.delete(key);
  const joined = [...all.keys()].sort((a, b) => a - b).map((number) => all.get(number)).join("");
  tell("message", { from: pdu.source_addr, to: pdu.destination_addr, text: joined, parts: of });
}

// What was not answered with ESME_ROK yet, and comes again with the next bind.
const undelivered = new Map();

let deliveries = 0;

function deliver(system, pdu, kind, number = (deliveries += 1)) {
  const session = [...bound].find((one) => one.system === system && one.mode !== "bind_transmitter");
  undelivered.set(number, { system, pdu, kind });
  session?.deliver_sm({ ...pdu }, (answer) => {
    if (!answer.command_status) undelivered.delete(number);
    tell("delivered", { kind, status: answer.command_status });
  });
}

function receipt(system, pdu, id) {
  const state = settings.receipts;
  const date = "2611300912";
  const failed = state === "DELIVRD" ? "000" : "011";
  deliver(
    system,
    {
      source_addr: pdu.destination_addr,
      destination_addr: pdu.source_addr,
      esm_class: 0x04,
      short_message:
        `id:${String(id).padStart(10, "0")} sub:001 dlvrd:001 submit date:${date} done date:${date} ` +
        `stat:${state} err:${failed} text:`,
    },
    "receipt",
  );
}

function serve(session) {
  session.on("error", (error) => tell("error", { code: error.code ?? error.message }));
  session.on("close", () => {
    if (bound.delete(session)) tell("unbound", { mode: session.mode });
  });
  for (const mode of ["bind_transceiver", "bind_transmitter", "bind_receiver"]) {
    session.on(mode, (pdu) => {
      const known = pdu.password !== "" && settings.users[pdu.system_id] === pdu.password;
      const status = known ? smpp.ESME_ROK : smpp.ESME_RINVPASWD;
      tell("bind", { mode, system_id: pdu.system_id, system_type: pdu.system_type, status });
      session.send(pdu.response({ command_status: status, system_id: "node-smpp" }));
      if (!known) return session.close();
      Object.assign(session, { mode, system: pdu.system_id });
      bound.add(session);
      if (mode === "bind_transmitter") return;
      for (const [number, one] of [...undelivered]) deliver(one.system, one.pdu, one.kind, number);
    });
  }
  session.on("unbind", (pdu) => {
    tell("unbind");
    session.send(pdu.response());
    session.close();
  });
  session.on("enquire_link", (pdu) => {
    tell("enquire_link");
    if (!settings.idle) session.send(pdu.response());
  });
  session.on("submit_sm", (pdu) => {
    const status = refusal();
    if (submitted === settings.cut) {
      tell("cut");
      return bound.forEach((one) => one.destroy());
    }
    if (status) {
      tell("refused", { status });
      return session.send(pdu.response({ command_status: status }));
    }
    const facts = read(pdu);
    last += 1;
    const id = last;
    tell("submit", {
      id: String(id),
      from: pdu.source_addr,
      from_ton: pdu.source_addr_ton,
      from_npi: pdu.source_addr_npi,
      to: pdu.destination_addr,
      to_ton: pdu.dest_addr_ton,
      to_npi: pdu.dest_addr_npi,
      esm_class: pdu.esm_class,
      data_coding: pdu.data_coding,
      registered: pdu.registered_delivery,
      validity: pdu.validity_period || null,
      payload: Boolean(pdu.message_payload),
      ...facts,
    });
    put_together(pdu, facts);
    if (settings.deaf) return;
    const wanted = settings.receipts && pdu.registered_delivery & 1;
    if (wanted && settings.first) receipt(session.system, pdu, id);
    // Later, so that what came together is not answered yet where connections are cut.
    setImmediate(() => {
      if (!bound.has(session)) return;
      session.send(pdu.response({ message_id: id.toString(16).toUpperCase() }));
      if (wanted && !settings.first) receipt(session.system, pdu, id);
    });
  });
}

const pem = settings.tls && fs.readFileSync(settings.tls);
const server = smpp.createServer(pem ? { key: pem, cert: pem } : {}, serve);
server.on("tlsClientError", (error) => tell("error", { code: error.code }));
server.listen(settings.port, "127.0.0.1", () => tell("listening", { port: server.address().port }));

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { deliver: inbound, cut_now, ask, ...others } = JSON.parse(line);
  Object.assign(settings, others);
  if (inbound) deliver(inbound.system, inbound.pdu, "inbound");
  if (cut_now) bound.forEach((one) => one.destroy());
  if (ask) bound.forEach((one) => one.enquire_link(() => tell("enquire_link_resp")));
  tell("set");
});
lines.on("close", () => process.exit());
