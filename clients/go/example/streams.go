package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "postwire.dev/gen/postwire/v1"
)

// stream sends 1,000 messages over one call, a hundred a frame. One of them is bad, and ends nothing.
func (e *example) stream(ctx context.Context) error {
	requests := make([]*pb.DispatchRequest, 1000)
	for i := range requests {
		requests[i] = sms(recipient, fmt.Sprint("number ", i))
	}
	requests[500].GetMessage().GetSms().To = "12"

	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	call, err := e.client.DispatchStream(ctx)
	if err != nil {
		return err
	}
	var sender errgroup.Group
	sender.Go(func() error { // Send waits while the server takes no more, so somebody has to read meanwhile
		for frame := range slices.Chunk(requests, 100) {
			if err := call.Send(&pb.DispatchStreamRequest{Requests: frame}); err != nil {
				return err
			}
		}
		return call.CloseSend()
	})

	messages := make(map[string]string) // message id by request id
	rejections, line := []fields{}, ""
	for {
		answer, err := call.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		for _, one := range answer.GetResults() {
			if rejection := one.GetRejection(); rejection != nil {
				r, sequence := rejectionOf(rejection), one.GetSequence()
				line += fmt.Sprintf(" %d %s", sequence, r)
				rejections = append(rejections, fields{
					"sequence": sequence, "code": r.code, "reason": r.reason, "violations": r.violations,
				})
			} else if message := one.GetMessage(); stateOf(message) == "SENT" {
				messages[message.GetRequestId()] = message.GetMessageId()
			}
		}
	}
	if err := sender.Wait(); err != nil {
		return err
	}
	return e.report("stream", fmt.Sprintf("%d SENT, %d refused:%s", len(messages), len(rejections), line), fields{
		"messages": messages, "rejections": rejections,
	})
}

// watch sends a message in a second's time, and follows it until it is sent.
func (e *example) watch(ctx context.Context) error {
	r := sms(recipient, "See you")
	r.Options = &pb.DispatchOptions{
		WaitFor:  pb.WaitFor_WAIT_FOR_ACCEPTANCE,
		SendTime: timestamppb.New(time.Now().Add(time.Second)),
	}
	message, err := e.send(ctx, r, timeout)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel() // ends the call, which goes on for as long as somebody listens
	id := message.GetMessageId()
	call, err := e.client.WatchMessages(ctx, &pb.WatchMessagesRequest{MessageIds: []string{id}})
	if err != nil {
		return err
	}
	var states []string
	var revisions []int64
	for message.GetState() != pb.MessageState_MESSAGE_STATE_SENT {
		change, err := call.Recv()
		if err != nil {
			return err
		}
		if message = change.GetMessage(); message != nil { // nil: a sign of life
			states = append(states, stateOf(message))
			revisions = append(revisions, message.GetRevision())
		}
	}
	return e.report("watch", strings.Join(states, " → "), fields{
		"message_id": id, "request_id": r.GetRequestId(), "states": states, "revisions": revisions,
	})
}
