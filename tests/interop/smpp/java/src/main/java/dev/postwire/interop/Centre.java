package dev.postwire.interop;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import org.jsmpp.bean.BindType;
import org.jsmpp.bean.BroadcastSm;
import org.jsmpp.bean.CancelBroadcastSm;
import org.jsmpp.bean.CancelSm;
import org.jsmpp.bean.DataCodings;
import org.jsmpp.bean.DataSm;
import org.jsmpp.bean.DeliveryReceipt;
import org.jsmpp.bean.ESMClass;
import org.jsmpp.bean.EnquireLink;
import org.jsmpp.bean.NumberingPlanIndicator;
import org.jsmpp.bean.OptionalParameter;
import org.jsmpp.bean.QueryBroadcastSm;
import org.jsmpp.bean.QuerySm;
import org.jsmpp.bean.RegisteredDelivery;
import org.jsmpp.bean.ReplaceSm;
import org.jsmpp.bean.SubmitMulti;
import org.jsmpp.bean.SubmitSm;
import org.jsmpp.bean.TypeOfNumber;
import org.jsmpp.extra.NegativeResponseException;
import org.jsmpp.extra.ProcessRequestException;
import org.jsmpp.extra.SessionState;
import org.jsmpp.session.BindRequest;
import org.jsmpp.session.BroadcastSmResult;
import org.jsmpp.session.DataSmResult;
import org.jsmpp.session.QueryBroadcastSmResult;
import org.jsmpp.session.QuerySmResult;
import org.jsmpp.session.SMPPServerSession;
import org.jsmpp.session.SMPPServerSessionListener;
import org.jsmpp.session.ServerMessageReceiverListener;
import org.jsmpp.session.ServerResponseDeliveryListener;
import org.jsmpp.session.Session;
import org.jsmpp.session.SubmitMultiResult;
import org.jsmpp.session.SubmitSmResult;
import org.jsmpp.session.connection.ServerConnection;
import org.jsmpp.session.connection.ServerConnectionFactory;
import org.jsmpp.session.connection.socket.ServerSocketConnection;
import org.jsmpp.util.DeliveryReceiptState;
import org.jsmpp.util.MessageId;

/**
 * An SMS centre by jSMPP. It takes settings as its argument and further ones on its standard input, one JSON object a
 * line; what happens to it is an object a line on its standard output. It ends with its standard input.
 */
public final class Centre implements ServerMessageReceiverListener, ServerResponseDeliveryListener {
  private static final Charset GSM = Charset.forName("X-GSM7BIT");
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
  private static final Gson GSON = new GsonBuilder().serializeNulls().create();

  private final Map<String, SubmitSm> unreported = new ConcurrentHashMap<>();
  private final Map<String, TreeMap<Integer, String>> parts = new ConcurrentHashMap<>();
  private final List<Bound> bound = new CopyOnWriteArrayList<>();
  private final AtomicInteger last = new AtomicInteger(41_000);
  private final AtomicInteger submitted = new AtomicInteger();
  private final ExecutorService threads = Executors.newCachedThreadPool();
  private volatile JsonObject settings;

  private static final Map<BindType, String> MODES =
      Map.of(
          BindType.BIND_TRX, "bind_transceiver",
          BindType.BIND_TX, "bind_transmitter",
          BindType.BIND_RX, "bind_receiver");

  private record Bound(SMPPServerSession session, BindType type, String system) {}

  private record Refusal(int every, int status) {}

  private Centre(JsonObject settings) {
    this.settings = settings;
  }

  public static void main(String[] arguments) throws IOException {
    JsonObject settings = JsonParser.parseString(arguments[0]).getAsJsonObject();
    Centre centre = new Centre(settings);
    Loopback loopback = new Loopback();
    int port = settings.has("port") ? settings.get("port").getAsInt() : 0;
    SMPPServerSessionListener listener = new SMPPServerSessionListener(port, loopback);
    listener.setMessageReceiverListener(centre);
    listener.setResponseDeliveryListener(centre);
    tell("listening", Map.of("port", loopback.port));
    Thread acceptor = new Thread(() -> centre.serve(listener));
    acceptor.setDaemon(true);
    acceptor.start();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      centre.obey(JsonParser.parseString(line).getAsJsonObject());
    }
    System.exit(0);
  }

  private static synchronized void tell(String event, Map<String, ?> facts) {
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("event", event);
    told.putAll(facts);
    OUT.println(GSON.toJson(told));
  }

  private void obey(JsonObject command) {
    JsonObject changed = settings.deepCopy();
    command.entrySet().forEach(one -> changed.add(one.getKey(), one.getValue()));
    settings = changed;
    if (command.has("cut_now")) {
      bound.forEach(one -> one.session.close());
    }
    if (command.has("deliver")) {
      JsonObject inbound = command.getAsJsonObject("deliver");
      JsonObject pdu = inbound.getAsJsonObject("pdu");
      byte[] text = pdu.get("short_message").getAsString().getBytes(GSM);
      String from = pdu.get("source_addr").getAsString();
      String to = pdu.get("destination_addr").getAsString();
      deliver(inbound.get("system").getAsString(), "inbound", from, to, 0, text);
    }
    tell("set", Map.of());
  }

  private void serve(SMPPServerSessionListener listener) {
    while (true) {
      try {
        SMPPServerSession session = listener.accept();
        session.setTransactionTimer(10_000);
        threads.execute(() -> bind(session));
      } catch (IOException error) {
        tell("error", Map.of("code", String.valueOf(error.getMessage())));
      }
    }
  }

  private void bind(SMPPServerSession session) {
    try {
      BindRequest request = session.waitForBind(10_000);
      JsonObject users = settings.getAsJsonObject("users");
      String system = request.getSystemId();
      boolean known = users.has(system) && users.get(system).getAsString().equals(request.getPassword());
      int status = known ? 0 : 0x0E;
      String mode = MODES.get(request.getBindType());
      String type = Objects.toString(request.getSystemType(), "");
      tell("bind", Map.of("mode", mode, "system_id", system, "system_type", type, "status", status));
      if (!known) {
        request.reject(status);
        session.close();
        return;
      }
      Bound made = new Bound(session, request.getBindType(), system);
      bound.add(made);
      session.addSessionStateListener(
          (next, before, source) -> {
            if (next == SessionState.UNBOUND) {
              tell("unbind", Map.of());
            }
            if (next == SessionState.CLOSED && bound.remove(made)) {
              tell("unbound", Map.of("mode", mode));
            }
          });
      request.accept("jsmpp");
    } catch (TimeoutException | IOException | org.jsmpp.PDUStringException error) {
      tell("error", Map.of("code", error.getClass().getSimpleName()));
    }
  }

  @Override
  public SubmitSmResult onAcceptSubmitSm(SubmitSm pdu, SMPPServerSession session) throws ProcessRequestException {
    int number = submitted.incrementAndGet();
    if (settings.has("refuse")) {
      for (Refusal one : GSON.fromJson(settings.get("refuse"), Refusal[].class)) {
        if (number % one.every == 0) {
          tell("refused", Map.of("status", one.status));
          throw new ProcessRequestException("refused", one.status);
        }
      }
    }
    String id = String.valueOf(last.incrementAndGet());
    record(pdu, id);
    if (reports() && (pdu.getRegisteredDelivery() & 1) != 0) {
      unreported.put(id, pdu);
    }
    try {
      return new SubmitSmResult(new MessageId(id), new OptionalParameter[0]);
    } catch (org.jsmpp.PDUStringException error) {
      throw new IllegalStateException(error);
    }
  }

  private boolean reports() {
    return settings.has("receipts") && !settings.get("receipts").isJsonNull();
  }

  private void record(SubmitSm pdu, String id) {
    OptionalParameter.Message_payload payload = pdu.getOptionalParameter(OptionalParameter.Message_payload.class);
    byte[] raw = payload == null ? pdu.getShortMessage() : payload.getValue();
    int start = 0;
    Integer reference = null;
    int part = 1;
    int of = 1;
    if (pdu.isUdhi()) {
      start = raw[0] + 1;
      for (int at = 1; at < start; at += 2 + raw[at + 1]) {
        if (raw[at] == 0) {
          reference = raw[at + 2] & 0xFF;
          of = raw[at + 3];
          part = raw[at + 4];
        }
      }
    }
    Charset charset = (pdu.getDataCoding() & 0x0F) == 8 ? StandardCharsets.UTF_16BE : GSM;
    String text = new String(raw, start, raw.length - start, charset);
    Map<String, Object> facts = new LinkedHashMap<>();
    facts.put("id", id);
    facts.put("from", pdu.getSourceAddr());
    facts.put("from_ton", pdu.getSourceAddrTon());
    facts.put("from_npi", pdu.getSourceAddrNpi());
    facts.put("to", pdu.getDestAddress());
    facts.put("to_ton", pdu.getDestAddrTon());
    facts.put("to_npi", pdu.getDestAddrNpi());
    facts.put("esm_class", pdu.getEsmClass());
    facts.put("data_coding", pdu.getDataCoding());
    facts.put("registered", pdu.getRegisteredDelivery());
    facts.put("validity", pdu.getValidityPeriod());
    facts.put("payload", payload != null);
    facts.put("text", text);
    facts.put("reference", reference);
    facts.put("part", part);
    facts.put("of", of);
    tell("submit", facts);
    putTogether(pdu, reference, part, of, text);
  }

  private synchronized void putTogether(SubmitSm pdu, Integer reference, int part, int of, String text) {
    String key = pdu.getSourceAddr() + " " + pdu.getDestAddress() + " " + reference + " " + of;
    TreeMap<Integer, String> all = of == 1 ? new TreeMap<>() : parts.computeIfAbsent(key, one -> new TreeMap<>());
    all.put(part, text);
    if (all.size() == of) {
      parts.remove(key);
      String whole = String.join("", all.values());
      tell("message", Map.of("from", pdu.getSourceAddr(), "to", pdu.getDestAddress(), "text", whole, "parts", of));
    }
  }

  @Override
  public void onSubmitSmRespSent(SubmitSmResult result, SMPPServerSession session) {
    SubmitSm pdu = unreported.remove(result.getMessageId());
    if (pdu == null) {
      return;
    }
    DeliveryReceiptState state = DeliveryReceiptState.getByName(settings.get("receipts").getAsString());
    boolean delivered = state == DeliveryReceiptState.DELIVRD;
    Date now = new Date();
    DeliveryReceipt receipt =
        new DeliveryReceipt(
            result.getMessageId(), 1, delivered ? 1 : 0, now, now, state, delivered ? "000" : "011", "");
    byte[] text = receipt.toString().getBytes(StandardCharsets.US_ASCII);
    String system = bound.stream().filter(one -> one.session == session).findAny().map(Bound::system).orElse("");
    OptionalParameter id = new OptionalParameter.Receipted_message_id(result.getMessageId());
    threads.execute(
        () -> deliver(system, "receipt", pdu.getDestAddress(), pdu.getSourceAddr(), 0x04, text, id));
  }

  private void deliver(
      String system, String kind, String from, String to, int esmClass, byte[] text, OptionalParameter... more) {
    for (Bound one : bound) {
      if (!one.system.equals(system) || one.type == BindType.BIND_TX) {
        continue;
      }
      try {
        one.session.deliverShortMessage(
            "",
            TypeOfNumber.INTERNATIONAL,
            NumberingPlanIndicator.ISDN,
            from,
            TypeOfNumber.INTERNATIONAL,
            NumberingPlanIndicator.ISDN,
            to,
            new ESMClass(esmClass),
            (byte) 0,
            (byte) 0,
            new RegisteredDelivery(0),
            DataCodings.newInstance((byte) 0),
            text,
            more);
        tell("delivered", Map.of("kind", kind, "status", 0));
      } catch (NegativeResponseException error) {
        tell("delivered", Map.of("kind", kind, "status", error.getCommandStatus()));
      } catch (Exception error) {
        tell("error", Map.of("code", error.getClass().getSimpleName()));
      }
      return;
    }
    tell("undeliverable", Map.of("kind", kind));
  }

  @Override
  public void onAcceptEnquireLink(EnquireLink pdu, Session source) {
    tell("enquire_link", Map.of());
  }

  @Override
  public void onSubmitSmRespError(SubmitSmResult result, Exception cause, SMPPServerSession session) {
    tell("error", Map.of("code", cause.getClass().getSimpleName()));
  }

  @Override
  public void onSubmitMultiRespSent(SubmitMultiResult result, SMPPServerSession session) {}

  @Override
  public void onSubmitMultiRespError(SubmitMultiResult result, Exception cause, SMPPServerSession session) {}

  @Override
  public SubmitMultiResult onAcceptSubmitMulti(SubmitMulti pdu, SMPPServerSession session)
      throws ProcessRequestException {
    throw unsupported();
  }

  @Override
  public QuerySmResult onAcceptQuerySm(QuerySm pdu, SMPPServerSession session) throws ProcessRequestException {
    throw unsupported();
  }

  @Override
  public void onAcceptReplaceSm(ReplaceSm pdu, SMPPServerSession session) throws ProcessRequestException {
    throw unsupported();
  }

  @Override
  public void onAcceptCancelSm(CancelSm pdu, SMPPServerSession session) throws ProcessRequestException {
    throw unsupported();
  }

  @Override
  public BroadcastSmResult onAcceptBroadcastSm(BroadcastSm pdu, SMPPServerSession session)
      throws ProcessRequestException {
    throw unsupported();
  }

  @Override
  public void onAcceptCancelBroadcastSm(CancelBroadcastSm pdu, SMPPServerSession session)
      throws ProcessRequestException {
    throw unsupported();
  }

  @Override
  public QueryBroadcastSmResult onAcceptQueryBroadcastSm(QueryBroadcastSm pdu, SMPPServerSession session)
      throws ProcessRequestException {
    throw unsupported();
  }

  @Override
  public DataSmResult onAcceptDataSm(DataSm pdu, Session source) throws ProcessRequestException {
    throw unsupported();
  }

  private static ProcessRequestException unsupported() {
    return new ProcessRequestException("not here", 0x03);
  }

  /** Listens on loopback alone, and knows the port that it was given. */
  private static final class Loopback implements ServerConnectionFactory {
    private int port;

    @Override
    public ServerConnection listen(int wanted) throws IOException {
      ServerSocket socket = new ServerSocket(wanted, 50, InetAddress.getLoopbackAddress());
      port = socket.getLocalPort();
      return new ServerSocketConnection(socket);
    }

    @Override
    public ServerConnection listen(int wanted, int timeout) throws IOException {
      return listen(wanted);
    }

    @Override
    public ServerConnection listen(int wanted, int timeout, int backlog) throws IOException {
      return listen(wanted);
    }
  }
}
