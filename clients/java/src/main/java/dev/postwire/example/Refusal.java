package dev.postwire.example;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import dev.postwire.v1.DispatchRejection;
import dev.postwire.v1.FieldViolation;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import java.util.List;

/**
 * Why Postwire has not accepted something: {@code violations} are the paths of the bad fields, and
 * {@code sequence} is its place in a stream, or null.
 */
record Refusal(Long sequence, String code, String reason, List<String> violations) {
  /** Reads the details of an error. One that Postwire has not explained is thrown again. */
  static Refusal of(StatusException e) throws StatusException, InvalidProtocolBufferException {
    String reason = null;
    List<String> violations = List.of();
    for (var detail : StatusProto.fromThrowable(e).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        var info = detail.unpack(ErrorInfo.class);
        reason = info.getDomain().equals("postwire") ? info.getReason() : null;
      } else if (detail.is(BadRequest.class)) {
        var fields = detail.unpack(BadRequest.class).getFieldViolationsList();
        violations = fields.stream().map(BadRequest.FieldViolation::getField).toList();
      }
    }
    if (reason == null) {
      throw e;
    }
    return new Refusal(null, e.getStatus().getCode().name(), reason, violations);
  }

  /** Reads the same of one request of a stream, where it is no error of the call. */
  static Refusal of(long sequence, DispatchRejection rejection) {
    var code = Status.fromCodeValue(rejection.getCode()).getCode().name();
    var reason = rejection.getReason().name().replace("ERROR_REASON_", "");
    var fields = rejection.getFieldViolationsList();
    var violations = fields.stream().map(FieldViolation::getField).toList();
    return new Refusal(sequence, code, reason, violations);
  }

  @Override
  public String toString() {
    var place = sequence == null ? "" : sequence + " ";
    return (place + code + "  " + reason + "  " + String.join(", ", violations)).strip();
  }
}
