package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "postwire.dev/gen/postwire/v1"
)

const recipient = "+15005550006" // a mock always takes messages to this one

// request gives a message a request id of its own: however often it is sent, it is one message.
func request(message *pb.OutboundMessage) *pb.DispatchRequest {
	return &pb.DispatchRequest{RequestId: uuid.NewString(), Message: message}
}

func sms(to, body string) *pb.DispatchRequest {
	return request(&pb.OutboundMessage{Content: &pb.OutboundMessage_Sms{Sms: &pb.Sms{To: to, Body: body}}})
}

func (e *example) send(ctx context.Context, r *pb.DispatchRequest, timeout time.Duration) (*pb.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := e.client.Dispatch(ctx, r)
	return answer.GetMessage(), err
}

// sent sends a message, and reports what its record says.
func (e *example) sent(ctx context.Context, step string, r *pb.DispatchRequest) error {
	m, err := e.send(ctx, r, timeout)
	if err != nil {
		return err
	}
	channel := strings.ToLower(strings.TrimPrefix(m.GetChannel().String(), "CHANNEL_"))
	outcome := strings.TrimPrefix(m.GetOutcome().String(), "OUTCOME_")
	end := fmt.Sprintf("%-8s  %s", m.GetProviderName(), m.GetMessageId())
	if outcome != "SUCCESS" {
		end = outcome + " by " + m.GetProviderName()
	}
	return e.report(step, fmt.Sprintf("%-5s  %-8s  %s", channel, stateOf(m), end), fields{
		"channel": channel, "request_id": m.GetRequestId(), "message_id": m.GetMessageId(),
		"state": stateOf(m), "provider_name": m.GetProviderName(), "outcome": outcome,
	})
}

func stateOf(m *pb.Message) string {
	return strings.TrimPrefix(m.GetState().String(), "MESSAGE_STATE_")
}

// dispatch sends one message on each channel.
func (e *example) dispatch(ctx context.Context) error {
	e.first = sms(recipient, "Your code is 493 027.")
	mms := &pb.Mms{To: recipient, Media: []*pb.Media{{Source: &pb.Media_Url{Url: "https://example.com/door.jpg"}}}}
	email := &pb.Email{To: []string{"success@simulator.postwire.test"}, Subject: "Your receipt", Text: "Thank you."}
	for _, r := range []*pb.DispatchRequest{
		e.first,
		request(&pb.OutboundMessage{Content: &pb.OutboundMessage_Mms{Mms: mms}}),
		request(&pb.OutboundMessage{Content: &pb.OutboundMessage_Email{Email: email}}),
	} {
		if err := e.sent(ctx, "dispatch", r); err != nil {
			return err
		}
	}
	return nil
}

// forced has the provider refuse a message. That is no error of the call: the record says what happened.
func (e *example) forced(ctx context.Context) error {
	return e.sent(ctx, "forced", sms("+15005550001", "Hello"))
}

// refused reports why a call was refused.
func (e *example) refused(step string, err error) error {
	r := refusalOf(err)
	if r.reason == "" {
		return fmt.Errorf("%s: not refused by Postwire: %w", step, err)
	}
	return e.report(step, r.String(), fields{"code": r.code, "reason": r.reason, "violations": r.violations})
}

// invalid sends what cannot be sent.
func (e *example) invalid(ctx context.Context) error {
	_, err := e.send(ctx, sms("12", ""), timeout)
	return e.refused("invalid", err)
}

// conflict takes the request id of the first message for another one.
func (e *example) conflict(ctx context.Context) error {
	other := sms(recipient, "Your code is 027 493.")
	other.RequestId = e.first.GetRequestId()
	_, err := e.send(ctx, other, timeout)
	return e.refused("conflict", err)
}

// notFound asks for a message that nobody has sent.
func (e *example) notFound(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := e.client.GetMessage(ctx, &pb.GetMessageRequest{MessageId: "00000000-0000-7000-8000-000000000000"})
	return e.refused("not_found", err)
}

// retry gives a call too little time, so that nobody knows whether it was accepted, and repeats it until it was.
func (e *example) retry(ctx context.Context) error {
	r, tries := sms(recipient, "Once and no more"), 1
	message, err := e.send(ctx, r, time.Millisecond)
	for ; status.Code(err) == codes.DeadlineExceeded && tries < 10; tries++ {
		message, err = e.send(ctx, r, timeout)
	}
	if err != nil {
		return err
	}
	again, err := e.send(ctx, r, timeout)
	if err != nil {
		return err
	}
	id := message.GetMessageId()
	return e.report("retry", fmt.Sprintf("%s  after %d tries", id, tries), fields{
		"request_id": r.GetRequestId(), "message_id": id, "repeated_message_id": again.GetMessageId(), "tries": tries,
	})
}
