// The generated stub, with what every call needs: a deadline, retries, and a way to give it up.
import { once } from "node:events";

import * as grpc from "@grpc/grpc-js";

import {
  DispatchRequest,
  DispatchServiceClient,
  GetMessageRequest,
  WatchMessagesRequest,
  type DispatchStreamRequest,
  type DispatchStreamResult,
  type WatchMessagesResponse,
} from "./gen/postwire/v1/dispatch_service.js";
import type { Message } from "./gen/postwire/v1/message.js";

// gRPC itself tries a call that ends like this again, within its deadline, and waits as long as the server asks it to
// (`grpc-retry-pushback-ms`). With a request id of our own that is safe: it is one message, however often we ask.
const serviceConfig = {
  methodConfig: [
    {
      name: [{ service: "postwire.v1.DispatchService" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.2s",
        maxBackoff: "5s",
        backoffMultiplier: 3,
        retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
      },
    },
  ],
};

export class Postwire {
  readonly #stub: DispatchServiceClient;
  readonly #running = new Set<{ cancel(): void }>();

  /** Connects at the first call. When `signal` is aborted, the calls that are under way end CANCELLED. */
  constructor(target: string, signal: AbortSignal) {
    signal.addEventListener("abort", () => this.#running.forEach((call) => call.cancel()));
    this.#stub = new DispatchServiceClient(target, grpc.credentials.createInsecure(), {
      "grpc.service_config": JSON.stringify(serviceConfig),
    });
  }

  async dispatch(request: Parameters<typeof DispatchRequest.create>[0], seconds = 10): Promise<Message> {
    const response = await this.#unary(this.#stub.dispatch, DispatchRequest.create(request), seconds);
    return response.message!;
  }

  async getMessage(messageId: string, seconds = 10): Promise<Message> {
    const response = await this.#unary(this.#stub.getMessage, GetMessageRequest.create({ messageId }), seconds);
    return response.message!;
  }

  /** Sends `frames` no faster than the server takes them, and yields results as they come. */
  async *dispatchStream(frames: Iterable<DispatchStreamRequest>, seconds = 60): AsyncGenerator<DispatchStreamResult> {
    const call = this.#stub.dispatchStream(new grpc.Metadata(), deadline(seconds));
    const sent = send(frames, call);
    sent.catch(() => call.cancel()); // which ends the loop below
    for await (const { results } of this.#received(call)) yield* results;
    await sent;
  }

  /** Yields what becomes of messages, until the loop over it ends. */
  watchMessages(messageIds: string[], seconds = 60): AsyncGenerator<WatchMessagesResponse> {
    const request = WatchMessagesRequest.create({ messageIds });
    return this.#received(this.#stub.watchMessages(request, new grpc.Metadata(), deadline(seconds)));
  }

  close(): void {
    this.#stub.close();
  }

  #unary<Request, Response>(method: UnaryMethod<Request, Response>, request: Request, seconds: number) {
    return new Promise<Response>((resolve, reject) => {
      const done: grpc.requestCallback<Response> = (error, response) => (error ? reject(error) : resolve(response!));
      this.#track(method.call(this.#stub, request, new grpc.Metadata(), deadline(seconds), done));
    });
  }

  async *#received<Response>(call: grpc.ClientReadableStream<Response>): AsyncGenerator<Response> {
    this.#track(call);
    try {
      yield* call as AsyncIterable<Response>;
    } finally {
      call.cancel(); // leaving a loop early closes the stream, but the call would go on
    }
  }

  #track(call: grpc.ClientUnaryCall | grpc.ClientReadableStream<unknown>): void {
    this.#running.add(call);
    call.once("status", () => this.#running.delete(call));
  }
}

async function send<Request>(requests: Iterable<Request>, call: grpc.ClientWritableStream<Request>): Promise<void> {
  for (const request of requests) {
    if (!call.write(request)) await once(call, "drain"); // the server has enough for now
  }
  call.end();
}

type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  callback: grpc.requestCallback<Response>,
) => grpc.ClientUnaryCall;

const deadline = (seconds: number): grpc.CallOptions => ({ deadline: Date.now() + seconds * 1_000 });
