#include "tflite/profile.h"

#include "tflite/log.h"

namespace dgms {

void Profile::Add(const std::string& name, const std::string& kernel, int64_t macs, int64_t packed_bytes,
                  int64_t nanoseconds) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto [entry, is_new] = index_.emplace(name, ops_.size());
  if (is_new) ops_.emplace_back();
  OpProfile& op = ops_[entry->second];
  op.name = name;
  op.kernel = kernel;
  op.macs = macs;
  op.packed_bytes = packed_bytes;
  ++op.calls;
  op.nanoseconds += nanoseconds;
}

std::vector<OpProfile> Profile::Read() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ops_;
}

std::string Profile::Table() const {
  std::string table =
      Format("%10s %9s %10s %9s  %-16s %s", "calls", "us/call", "MMAC/call", "GMAC/s", "kernel", "output");
  double total = 0;
  for (const OpProfile& op : Read()) {
    const double calls = static_cast<double>(op.calls);
    const double microseconds = static_cast<double>(op.nanoseconds) * 1e-3 / calls;
    total += microseconds;
    const double mmacs = static_cast<double>(op.macs) * 1e-6;
    table += Format("\n%10lld %9.1f %10.3f %9.1f  %-16s %s", static_cast<long long>(op.calls), microseconds, mmacs,
                    microseconds > 0 ? mmacs * 1e3 / microseconds : 0.0, op.kernel.c_str(), op.name.c_str());
  }
  return table + Format("\n%10s %9.1f", "sum", total);
}

}  // namespace dgms
