// Makes `new` fail in this thread: once, at the nth allocation from construction on (0: the first).
#ifndef DGMS_TESTS_TFLITE_FAILING_NEW_H_
#define DGMS_TESTS_TFLITE_FAILING_NEW_H_

#include <cstdint>

namespace dgms::testing {

class FailNew {
 public:
  explicit FailNew(int64_t nth);
  ~FailNew();
  bool happened() const;
};

}  // namespace dgms::testing

#endif  // DGMS_TESTS_TFLITE_FAILING_NEW_H_
