// Secure sends one SMS over TLS, with a token that says who calls.
package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // what errors carry
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	postwirev1 "postwire.dev/gen/postwire/v1"
)

// bearer is a file with a token. It is read at every call, so that a new one takes effect at once.
type bearer string

func (file bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(string(file))
	return map[string]string{"authorization": "Bearer " + string(bytes.TrimSpace(token))}, err
}

// RequireTransportSecurity has gRPC refuse to send it without TLS.
func (bearer) RequireTransportSecurity() bool { return true }

func main() {
	target := cmp.Or(os.Getenv("POSTWIRE_TARGET"), "127.0.0.1:50051")
	tls, err := credentials.NewClientTLSFromFile(os.Getenv("POSTWIRE_CA_FILE"), "")
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(tls),
		grpc.WithPerRPCCredentials(bearer(os.Getenv("POSTWIRE_TOKEN_FILE"))))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	answer, err := postwirev1.NewDispatchServiceClient(conn).Dispatch(ctx, &postwirev1.DispatchRequest{
		Message: &postwirev1.OutboundMessage{Content: &postwirev1.OutboundMessage_Sms{
			Sms: &postwirev1.Sms{To: "+15005550006", Body: "Your code is 493 027."},
		}},
	})
	if err != nil {
		log.Fatalln(err, status.Convert(err).Details())
	}
	fmt.Println(answer.GetMessage().GetProviderName(), answer.GetMessage().GetState())
}
