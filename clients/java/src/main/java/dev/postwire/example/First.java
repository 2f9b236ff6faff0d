package dev.postwire.example;

import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import dev.postwire.v1.DispatchRequest;
import dev.postwire.v1.DispatchServiceGrpc;
import dev.postwire.v1.OutboundMessage;
import dev.postwire.v1.Sms;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;

/** Sends one SMS, and says who took it. */
public final class First {
  public static void main(String[] args) throws Exception {
    var target = System.getenv().getOrDefault("POSTWIRE_TARGET", "127.0.0.1:50051");
    var channel = Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
    var stub = DispatchServiceGrpc.newBlockingV2Stub(channel);
    var sms = Sms.newBuilder().setTo("+15005550006").setBody("Your code is 493 027.");
    var message = OutboundMessage.newBuilder().setSms(sms);
    var request = DispatchRequest.newBuilder().setMessage(message).build();
    try {
      var sent = stub.withDeadlineAfter(Duration.ofSeconds(10)).dispatch(request).getMessage();
      System.out.println(sent.getProviderName() + " " + sent.getState());
    } catch (StatusException e) {
      System.err.println(e.getMessage());
      for (var detail : StatusProto.fromThrowable(e).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          System.err.println(detail.unpack(ErrorInfo.class).getReason());
        } else if (detail.is(BadRequest.class)) {
          System.err.print(detail.unpack(BadRequest.class)); // every bad field
        }
      }
      System.exit(1);
    }
    channel.shutdownNow();
  }
}
