package dev.postwire.example;

import com.google.gson.FieldNamingPolicy;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonObject;
import com.google.gson.reflect.TypeToken;
import dev.postwire.v1.DispatchServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.StatusException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;

/**
 * Goes through what a caller does. Prints a line a step, which is how its result reads as text, or
 * with {@code --json} an object, which has the components of the result.
 */
public final class Example {
  /** Has gRPC repeat calls that failed for a passing reason, after as long as the server says. */
  private static final String SERVICE_CONFIG =
      """
      {"methodConfig": [{
        "name": [{"service": "postwire.v1.DispatchService"}],
        "retryPolicy": {
          "maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 3,
          "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
        }
      }]}
      """;

  private static final Gson JSON =
      new GsonBuilder()
          .setFieldNamingPolicy(FieldNamingPolicy.LOWER_CASE_WITH_UNDERSCORES)
          .create();

  private record Step(String name, Callable<?> run) {}

  public static void main(String[] args) throws Exception {
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8); // whatever the locale
    var asJson = List.of(args).contains("--json");
    var target = System.getenv().getOrDefault("POSTWIRE_TARGET", "127.0.0.1:50051");
    var channel =
        Grpc.newChannelBuilder(target, InsecureChannelCredentials.create())
            .defaultServiceConfig(JSON.fromJson(SERVICE_CONFIG, new TypeToken<Map<String, ?>>() {}))
            .enableRetry()
            .build();
    var postwire = DispatchServiceGrpc.newBlockingV2Stub(channel);
    var calls = new Calls(postwire);
    var streams = new Streams(postwire);
    var steps =
        List.of(
            new Step("dispatch", calls::sms),
            new Step("dispatch", calls::mms),
            new Step("dispatch", calls::email),
            new Step("forced", calls::forced),
            new Step("invalid", calls::invalid),
            new Step("conflict", calls::conflict),
            new Step("not_found", calls::notFound),
            new Step("retry", calls::retry),
            new Step("stream", streams::stream),
            new Step("watch", streams::watch));
    try {
      for (var step : steps) {
        var result = step.run().call();
        out.println(asJson ? json(step, result) : "%-9s  %s".formatted(step.name(), result));
      }
    } catch (StatusException e) {
      var cause = e.getCause() == null ? "" : ": " + e.getCause().getMessage();
      System.err.println(target + ": " + e.getMessage() + cause);
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }

  private static JsonObject json(Step step, Object result) {
    var object = new JsonObject();
    object.addProperty("step", step.name());
    JSON.toJsonTree(result).getAsJsonObject().asMap().forEach(object::add);
    return object;
  }
}
