package dev.postwire.example;

import com.google.protobuf.Timestamp;
import dev.postwire.v1.DispatchOptions;
import dev.postwire.v1.DispatchServiceGrpc.DispatchServiceBlockingV2Stub;
import dev.postwire.v1.DispatchStreamRequest;
import dev.postwire.v1.MessageState;
import dev.postwire.v1.WaitFor;
import dev.postwire.v1.WatchMessagesRequest;
import io.grpc.StatusException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;

/** The steps in which a call is more than a question and an answer. */
final class Streams {
  private static final int FRAME = 100;

  private final DispatchServiceBlockingV2Stub postwire;

  Streams(DispatchServiceBlockingV2Stub postwire) {
    this.postwire = postwire;
  }

  /** Sends 1,000 messages over one call. One of them is bad, and ends nothing. */
  Streamed stream() throws Exception {
    var requests =
        IntStream.range(0, 1_000)
            .mapToObj(i -> Calls.sms(i == 500 ? "12" : Calls.RECIPIENT, "Number " + i))
            .toList();
    var streamed = new Streamed(new HashMap<>(), new ArrayList<>());
    var call = postwire.withDeadlineAfter(Duration.ofMinutes(1)).dispatchStream();
    var executor = Executors.newSingleThreadExecutor();
    try {
      // write() waits while the server takes no more, so another thread has to read meanwhile.
      var writing =
          executor.submit(
              () -> {
                for (var i = 0; i < requests.size(); i += FRAME) {
                  var frame = requests.subList(i, i + FRAME);
                  call.write(DispatchStreamRequest.newBuilder().addAllRequests(frame).build());
                }
                call.halfClose();
                return null;
              });
      while (call.hasNext()) {
        for (var one : call.read().getResultsList()) {
          if (one.hasRejection()) {
            streamed.rejections.add(Refusal.of(one.getSequence(), one.getRejection()));
          } else if (one.getMessage().getState() == MessageState.MESSAGE_STATE_SENT) {
            streamed.messages.put(one.getMessage().getRequestId(), one.getMessage().getMessageId());
          }
        }
      }
      writing.get();
    } finally {
      executor.shutdownNow();
    }
    return streamed;
  }

  /** Sends a message in a second's time, and follows it until it is sent. */
  Watched watch() throws StatusException, InterruptedException {
    var at = Instant.now().plusSeconds(1);
    var options =
        DispatchOptions.newBuilder()
            .setWaitFor(WaitFor.WAIT_FOR_ACCEPTANCE)
            .setSendTime(
                Timestamp.newBuilder().setSeconds(at.getEpochSecond()).setNanos(at.getNano()));
    var request = Calls.sms(Calls.RECIPIENT, "See you").toBuilder().setOptions(options).build();
    var id =
        postwire.withDeadlineAfter(Calls.DEADLINE).dispatch(request).getMessage().getMessageId();

    var watched = new Watched(id, request.getRequestId(), new ArrayList<>(), new ArrayList<>());
    var call =
        postwire
            .withDeadlineAfter(Calls.DEADLINE)
            .watchMessages(WatchMessagesRequest.newBuilder().addMessageIds(id).build());
    while (!watched.states.contains("SENT") && call.hasNext()) {
      var change = call.read();
      if (change.hasMessage()) { // without one it is a sign of life
        watched.states.add(change.getMessage().getState().name().replace("MESSAGE_STATE_", ""));
        watched.revisions.add(change.getMessage().getRevision());
      }
    }
    call.cancel("seen enough", null); // it goes on for as long as somebody listens
    return watched;
  }

  /** Message ids by request id. */
  record Streamed(Map<String, String> messages, List<Refusal> rejections) {
    @Override
    public String toString() {
      var refused = String.join("; ", rejections.stream().map(Refusal::toString).toList());
      return "%d SENT, %d refused: %s".formatted(messages.size(), rejections.size(), refused);
    }
  }

  record Watched(String messageId, String requestId, List<String> states, List<Long> revisions) {
    @Override
    public String toString() {
      return String.join(" → ", states);
    }
  }
}
