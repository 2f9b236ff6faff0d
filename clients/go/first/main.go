// First sends one SMS and says who took it.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // what errors carry
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	postwirev1 "postwire.dev/gen/postwire/v1"
)

func main() {
	target := cmp.Or(os.Getenv("POSTWIRE_TARGET"), "127.0.0.1:50051")
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
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
		log.Fatalln(err, status.Convert(err).Details()) // the reason, and every bad field
	}
	fmt.Println(answer.GetMessage().GetProviderName(), answer.GetMessage().GetState())
}
