// What an op answers. Ops never throw and never abort.
#ifndef DGMS_OPS_STATUS_H_
#define DGMS_OPS_STATUS_H_

namespace dgms {

enum class Status {
  kOk,
  kInvalidArgument,  // sizes or parameters that make no sense, or that overflow 64 bits
  kOutOfMemory,
  kNotReady,  // Run before a successful Reshape
};

// One line for an error message.
inline const char* StatusText(Status status) {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kInvalidArgument:
      return "invalid sizes or parameters";
    case Status::kOutOfMemory:
      return "out of memory";
    case Status::kNotReady:
      return "run before reshape";
  }
  return "unknown status";
}

}  // namespace dgms

#endif  // DGMS_OPS_STATUS_H_
