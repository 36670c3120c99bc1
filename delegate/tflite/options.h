// The delegate's options: text from the runtime, checked once. The list for users is in include/dgms/delegate.h.
#ifndef DGMS_TFLITE_OPTIONS_H_
#define DGMS_TFLITE_OPTIONS_H_

#include <cstddef>
#include <string>

#include "tflite/claim.h"

namespace dgms {

struct Options {
  int num_threads = 1;        // 1 to ThreadPool::kMaxThreads; "-1" is resolved already
  std::string isa = "auto";   // "auto" or the name of a kernel set; whether this build and CPU have it is checked later
  bool dynamic_int8 = false;  // "activations": float operators quantise their activations at run time
  bool cache_filters = false;
  ClaimScope claim = ClaimScope::kGraph;
  bool log = false;
  bool profile = false;
  bool print_profile =
      true;  // what `profile` measured goes to the log when the delegate is gone; not an option in text
};

// Parses `count` pairs. On failure `*error` says which rule was broken and what was received, and `*options` is
// unspecified.
bool ParseOptions(const char* const* keys, const char* const* values, size_t count, Options* options,
                  std::string* error);

}  // namespace dgms

#endif  // DGMS_TFLITE_OPTIONS_H_
