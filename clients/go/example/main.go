// Example does what a client of Postwire does in earnest: it sends on every channel, reads errors, repeats a call whose
// end is not known, streams, and watches. With -json it reports each step as a JSON object.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "postwire.dev/gen/postwire/v1"
)

// timeout is the deadline of a call that has no other.
const timeout = 10 * time.Second

// retries has gRPC repeat calls that failed for a passing reason. Where the server says how long to wait
// (grpc-retry-pushback-ms), gRPC waits that long instead.
const retries = `{"methodConfig": [{
	"name": [{"service": "postwire.v1.DispatchService"}],
	"retryPolicy": {
		"maxAttempts": 4, "initialBackoff": "0.2s", "maxBackoff": "5s", "backoffMultiplier": 3,
		"retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
	}
}]}`

type example struct {
	client pb.DispatchServiceClient
	first  *pb.DispatchRequest // the first one that was sent
	json   bool                // for programs
}

func main() {
	log.SetFlags(0)
	var e example
	flag.BoolVar(&e.json, "json", false, "report each step as a JSON object")
	flag.Parse()
	conn, err := grpc.NewClient(
		cmp.Or(os.Getenv("POSTWIRE_TARGET"), "127.0.0.1:50051"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(retries),
	)
	if err != nil {
		log.Fatal(err)
	}
	e.client = pb.NewDispatchServiceClient(conn)
	for _, step := range []func(context.Context) error{
		e.dispatch, e.forced, e.invalid, e.conflict, e.notFound, e.retry, e.stream, e.watch,
	} {
		if err := step(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
}

type fields map[string]any

// report prints what a step has seen.
func (e *example) report(step, line string, seen fields) error {
	if e.json {
		seen["step"] = step
		return json.NewEncoder(os.Stdout).Encode(seen)
	}
	_, err := fmt.Printf("%-9s  %s\n", step, line)
	return err
}
