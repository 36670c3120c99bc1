#include "tflite/profile.h"

#include <algorithm>

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
  op.fastest_nanoseconds = op.calls == 0 ? nanoseconds : std::min(op.fastest_nanoseconds, nanoseconds);
  ++op.calls;
  op.nanoseconds += nanoseconds;
}

std::vector<OpProfile> Profile::Read() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ops_;
}

std::string Profile::Table() const {
  std::string table =
      Format("%8s %9s %9s %9s %9s  %-32s %s", "calls", "mean us", "best us", "MMAC", "GMAC/s", "kernel", "output");
  double mean_sum = 0, best_sum = 0;
  for (const OpProfile& op : Read()) {
    const double mean = static_cast<double>(op.nanoseconds) * 1e-3 / static_cast<double>(op.calls);
    const double best = static_cast<double>(op.fastest_nanoseconds) * 1e-3;
    const double mmacs = static_cast<double>(op.macs) * 1e-6;
    table += Format("\n%8lld %9.1f %9.1f %9.3f %9.1f  %-32s %s", static_cast<long long>(op.calls), mean, best, mmacs,
                    best > 0 ? mmacs * 1e3 / best : 0.0, op.kernel.c_str(), op.name.c_str());
    mean_sum += mean;
    best_sum += best;
  }
  return table + Format("\n%8s %9.1f %9.1f", "sum", mean_sum, best_sum);
}

}  // namespace dgms
