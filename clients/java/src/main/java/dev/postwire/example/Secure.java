package dev.postwire.example;

import dev.postwire.v1.DispatchRequest;
import dev.postwire.v1.DispatchServiceGrpc;
import dev.postwire.v1.OutboundMessage;
import dev.postwire.v1.Sms;
import io.grpc.CallCredentials;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.Executor;

/** Sends one SMS over TLS, with a token that says who calls. */
public final class Secure {
  /** A file with a token. It is read at every call, so that a new one takes effect at once. */
  private static final class Bearer extends CallCredentials {
    private static final Metadata.Key<String> KEY =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
    private final Path file;

    Bearer(String file) {
      this.file = Path.of(file);
    }

    @Override
    public void applyRequestMetadata(RequestInfo info, Executor executor, MetadataApplier applier) {
      executor.execute(
          () -> {
            try {
              var metadata = new Metadata();
              metadata.put(KEY, "Bearer " + Files.readString(file).strip());
              applier.apply(metadata);
            } catch (IOException e) {
              applier.fail(Status.UNAUTHENTICATED.withDescription("no token in " + file).withCause(e));
            }
          });
    }
  }

  public static void main(String[] args) throws Exception {
    var target = System.getenv().getOrDefault("POSTWIRE_TARGET", "127.0.0.1:50051");
    var tls = TlsChannelCredentials.newBuilder().trustManager(new File(System.getenv("POSTWIRE_CA_FILE"))).build();
    var channel = Grpc.newChannelBuilder(target, tls).build();
    var stub =
        DispatchServiceGrpc.newBlockingV2Stub(channel)
            .withCallCredentials(new Bearer(System.getenv("POSTWIRE_TOKEN_FILE")));
    var sms = Sms.newBuilder().setTo("+15005550006").setBody("Your code is 493 027.");
    var request = DispatchRequest.newBuilder().setMessage(OutboundMessage.newBuilder().setSms(sms)).build();
    try {
      var sent = stub.withDeadlineAfter(Duration.ofSeconds(10)).dispatch(request).getMessage();
      System.out.println(sent.getProviderName() + " " + sent.getState());
    } catch (StatusException e) {
      System.err.println(e.getMessage());
      System.exit(1);
    }
    channel.shutdownNow();
  }
}
