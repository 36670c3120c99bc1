// What each operation costs, for people and for programs.
#ifndef DGMS_TFLITE_PROFILE_H_
#define DGMS_TFLITE_PROFILE_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace dgms {

// One operation of a model. Interpreters of one delegate that run the same model share an entry.
struct OpProfile {
  std::string name;    // of the output tensor
  std::string kernel;  // of the last run
  int64_t macs = 0;    // multiply-adds of the last run
  int64_t packed_bytes = 0;
  int64_t calls = 0;
  int64_t nanoseconds = 0;  // of all calls
  int64_t fastest_nanoseconds =
      0;  // of the fastest call: what the others would take on a machine that does nothing else
};

class Profile {
 public:
  void Add(const std::string& name, const std::string& kernel, int64_t macs, int64_t packed_bytes, int64_t nanoseconds);
  std::vector<OpProfile> Read() const;  // in the order of first runs
  std::string Table() const;            // lines for people

 private:
  mutable std::mutex mutex_;
  std::map<std::string, size_t> index_;
  std::vector<OpProfile> ops_;
};

}  // namespace dgms

#endif  // DGMS_TFLITE_PROFILE_H_
