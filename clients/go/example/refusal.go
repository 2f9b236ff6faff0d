package main

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	pb "postwire.dev/gen/postwire/v1"
)

// refusal is why Postwire has not accepted a request.
type refusal struct {
	code, reason string
	violations   []string // the paths of the bad fields
}

// refusalOf reads the details of an error. The reason is empty where Postwire has not said one.
func refusalOf(err error) refusal {
	s := status.Convert(err)
	r := refusal{code: code.Code(s.Code()).String()} // INVALID_ARGUMENT, where s.Code() says InvalidArgument
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == "postwire" {
				r.reason = detail.GetReason()
			}
		case *errdetails.BadRequest:
			r.violations = paths(detail.GetFieldViolations())
		}
	}
	return r
}

// rejectionOf reads the same from a result of a stream, where it is no error of the call.
func rejectionOf(rejection *pb.DispatchRejection) refusal {
	reason := strings.TrimPrefix(rejection.GetReason().String(), "ERROR_REASON_")
	return refusal{code.Code(rejection.GetCode()).String(), reason, paths(rejection.GetFieldViolations())}
}

func paths[V interface{ GetField() string }](violations []V) (all []string) {
	for _, one := range violations {
		all = append(all, one.GetField())
	}
	return all
}

func (r refusal) String() string {
	return strings.TrimSpace(r.code + "  " + r.reason + "  " + strings.Join(r.violations, ", "))
}
