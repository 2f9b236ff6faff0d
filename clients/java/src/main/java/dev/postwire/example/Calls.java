package dev.postwire.example;

import dev.postwire.v1.DispatchRequest;
import dev.postwire.v1.DispatchServiceGrpc.DispatchServiceBlockingV2Stub;
import dev.postwire.v1.Email;
import dev.postwire.v1.GetMessageRequest;
import dev.postwire.v1.Media;
import dev.postwire.v1.Message;
import dev.postwire.v1.Mms;
import dev.postwire.v1.OutboundMessage;
import dev.postwire.v1.Sms;
import io.grpc.Status;
import io.grpc.StatusException;
import java.time.Duration;
import java.util.Locale;
import java.util.UUID;
import java.util.concurrent.Callable;

/** The steps that are one call, or one after the other. */
final class Calls {
  static final Duration DEADLINE = Duration.ofSeconds(10);
  static final String RECIPIENT = "+15005550006"; // mocks always take messages to this one

  private final DispatchServiceBlockingV2Stub postwire;
  private final DispatchRequest first = sms(RECIPIENT, "Your code is 493 027.");

  Calls(DispatchServiceBlockingV2Stub postwire) {
    this.postwire = postwire;
  }

  /** Gives a message a request id of its own: however often it is sent, it is one message. */
  private static DispatchRequest request(OutboundMessage.Builder message) {
    var id = UUID.randomUUID().toString();
    return DispatchRequest.newBuilder().setRequestId(id).setMessage(message).build();
  }

  static DispatchRequest sms(String to, String body) {
    return request(OutboundMessage.newBuilder().setSms(Sms.newBuilder().setTo(to).setBody(body)));
  }

  private Message dispatch(DispatchRequest request, Duration deadline) throws StatusException {
    return postwire.withDeadlineAfter(deadline).dispatch(request).getMessage();
  }

  Sent sms() throws StatusException {
    return Sent.of(dispatch(first, DEADLINE));
  }

  Sent mms() throws StatusException {
    var media = Media.newBuilder().setUrl("https://example.com/door.jpg");
    var mms = Mms.newBuilder().setTo(RECIPIENT).addMedia(media);
    return Sent.of(dispatch(request(OutboundMessage.newBuilder().setMms(mms)), DEADLINE));
  }

  Sent email() throws StatusException {
    var to = "success@simulator.postwire.test";
    var email = Email.newBuilder().addTo(to).setSubject("Your receipt").setText("Thank you.");
    return Sent.of(dispatch(request(OutboundMessage.newBuilder().setEmail(email)), DEADLINE));
  }

  /** Has the provider refuse a message. That is no error of the call: the record says so. */
  Sent forced() throws StatusException {
    return Sent.of(dispatch(sms("+15005550001", "Hello"), DEADLINE));
  }

  /** Sends what cannot be sent. */
  Refusal invalid() throws Exception {
    return refused(() -> dispatch(sms("12", ""), DEADLINE));
  }

  /** Takes the request id of the first message for another one. */
  Refusal conflict() throws Exception {
    var other = first.toBuilder();
    other.getMessageBuilder().getSmsBuilder().setBody("Your code is 027 493.");
    return refused(() -> dispatch(other.build(), DEADLINE));
  }

  /** Asks for a message that nobody has sent. */
  Refusal notFound() throws Exception {
    var id = "00000000-0000-7000-8000-000000000000";
    var request = GetMessageRequest.newBuilder().setMessageId(id).build();
    return refused(() -> postwire.withDeadlineAfter(DEADLINE).getMessage(request));
  }

  private static Refusal refused(Callable<?> call) throws Exception {
    try {
      throw new AssertionError("this was to be refused: " + call.call());
    } catch (StatusException e) {
      return Refusal.of(e);
    }
  }

  /** Gives a call too little time, so that nobody knows its end, and repeats it until it is OK. */
  Retried retry() throws StatusException {
    var request = sms(RECIPIENT, "Once and no more");
    var deadline = Duration.ofMillis(1);
    for (var tries = 1; ; tries++) {
      try {
        var id = dispatch(request, deadline).getMessageId();
        var again = dispatch(request, DEADLINE).getMessageId();
        return new Retried(request.getRequestId(), id, again, tries);
      } catch (StatusException e) {
        if (e.getStatus().getCode() != Status.Code.DEADLINE_EXCEEDED || tries == 10) {
          throw e;
        }
        deadline = DEADLINE;
      }
    }
  }

  record Sent(
      String channel,
      String requestId,
      String messageId,
      String state,
      String providerName,
      String outcome) {
    static Sent of(Message message) {
      return new Sent(
          message.getChannel().name().replace("CHANNEL_", "").toLowerCase(Locale.ROOT),
          message.getRequestId(),
          message.getMessageId(),
          message.getState().name().replace("MESSAGE_STATE_", ""),
          message.getProviderName(),
          message.getOutcome().name().replace("OUTCOME_", ""));
    }

    @Override
    public String toString() {
      return outcome.equals("SUCCESS")
          ? "%-5s  %-8s  %-8s  %s".formatted(channel, state, providerName, messageId)
          : "%-5s  %-8s  %s by %s".formatted(channel, state, outcome, providerName);
    }
  }

  record Retried(String requestId, String messageId, String repeatedMessageId, int tries) {
    @Override
    public String toString() {
      return messageId + "  after " + tries + " tries";
    }
  }
}
