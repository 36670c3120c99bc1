#include "tflite/pass.h"

#include <algorithm>
#include <utility>

#include "ops/shapes.h"

namespace dgms {
namespace {

using Steps = std::vector<Step>;

// How many inputs of all steps each step's output is.
std::vector<int> CountReaders(const Steps& steps) {
  std::vector<int> readers(steps.size());
  for (const Step& step : steps) {
    for (const Step::Place& place : step.inputs) {
      if (place.step != Step::kNone) ++readers[place.step];
    }
  }
  return readers;
}

bool IsFloatAdd(const Step& step) {
  const auto* weightless = step.match.weightless();
  const auto* binary = weightless == nullptr ? nullptr : std::get_if<BinaryParams>(weightless);
  return binary != nullptr && binary->kind == BinaryKind::kAdd && binary->type == ElementType::kFloat32;
}

// By step: the convolution that an ADD takes place in. Its output must be one of the summands, which nobody else reads,
// and both must have the sum's shape.
std::vector<int> FuseResiduals(const Steps& steps) {
  const std::vector<int> readers = CountReaders(steps);
  std::vector<int> convolutions(steps.size(), Step::kNone);
  std::vector<bool> fused(steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step& add = steps[i];
    if (!IsFloatAdd(add)) continue;
    if (add.input_dims[0] != add.output_dims || add.input_dims[1] != add.output_dims) continue;  // broadcasting
    // The later of two convolutions: the other one is done by then.
    const int later = add.inputs[0].step > add.inputs[1].step ? 0 : 1;
    for (int input : {later, 1 - later}) {
      const int producer = add.inputs[input].step;
      if (producer == Step::kNone || fused[producer] || convolutions[i] != Step::kNone) continue;
      if (!steps[producer].op->AddsResidual() || readers[producer] != 1) continue;
      convolutions[i] = producer;
      fused[producer] = true;
    }
  }
  return convolutions;
}

std::vector<Pass::Member> FindMembers(const Steps& steps) {
  const std::vector<int> convolutions = FuseResiduals(steps);
  std::vector<bool> fused(steps.size());
  for (int convolution : convolutions) {
    if (convolution != Step::kNone) fused[convolution] = true;
  }
  std::vector<Pass::Member> members;
  for (size_t i = 0; i < steps.size(); ++i) {
    const int step = static_cast<int>(i);
    if (fused[i]) continue;
    members.push_back(convolutions[i] == Step::kNone ? Pass::Member{step, Step::kNone}
                                                     : Pass::Member{convolutions[i], step});
  }
  return members;
}

// Rows of members, each of which alone reads the one before, line by line.
std::vector<std::vector<Pass::Member>> FindRows(const Steps& steps) {
  const std::vector<int> readers = CountReaders(steps);
  std::vector<int> row_of(steps.size(), Step::kNone);  // of a step: the row that its output is the last of
  std::vector<std::vector<Pass::Member>> rows;
  for (const Pass::Member& member : FindMembers(steps)) {
    std::vector<Pass::Member> row;
    const Step& runner = steps[member.runner];
    const int before = runner.inputs[0].step;
    if (runner.op->line_op() != nullptr && before != Step::kNone && row_of[before] != Step::kNone &&
        steps[before].own_output && readers[before] == 1) {
      row = std::move(rows[row_of[before]]);
      rows[row_of[before]].clear();
    }
    row.push_back(member);
    if (runner.op->line_op() != nullptr) row_of[member.output()] = static_cast<int>(rows.size());
    rows.push_back(std::move(row));
  }
  rows.erase(std::remove_if(rows.begin(), rows.end(), [](const auto& row) { return row.empty(); }), rows.end());
  return rows;
}

Status MakePass(const Steps& steps, std::vector<Pass::Member> members, int threads, Pass* pass) {
  pass->members = std::move(members);
  if (pass->members.size() == 1) return Status::kOk;
  pass->chain = MakeUnique<LineChain>();
  if (pass->chain == nullptr) return Status::kOutOfMemory;
  std::vector<LineChain::Member> ops;
  for (const Pass::Member& member : pass->members) {
    LineChain::Member op;
    op.op = steps[member.runner].op->line_op();
    op.adds = member.adds();
    if (op.adds) op.sum_range = RangeOf(SumActivation(steps[member.sum]));
    ops.push_back(op);
  }
  return pass->chain->Plan(ops.data(), static_cast<int>(ops.size()), threads);
}

}  // namespace

Activation SumActivation(const Step& sum) { return std::get<BinaryParams>(*sum.match.weightless()).activation; }

const Step::Place& ResidualOf(const Steps& steps, const Pass::Member& member) {
  const Step& sum = steps[member.sum];
  return sum.inputs[sum.inputs[0].step == member.runner ? 1 : 0];
}

Status PlanPasses(const Steps& steps, int threads, std::vector<Pass>* passes, ChainMemory* memory) {
  passes->clear();
  *memory = {};
  for (const std::vector<Pass::Member>& row : FindRows(steps)) {
    std::vector<const LineOp*> ops;
    for (const Pass::Member& member : row) ops.push_back(steps[member.runner].op->line_op());
    std::vector<int> lengths(row.size(), 1);
    if (row.size() > 1) {
      const Status status = LineChain::BestLengths(ops.data(), static_cast<int>(ops.size()), threads, lengths.data());
      if (status != Status::kOk) return status;
    }
    std::vector<size_t> cuts = {row.size()};  // the row's chains, from the last to the first
    while (cuts.back() > 0) cuts.push_back(cuts.back() - static_cast<size_t>(lengths[cuts.back() - 1]));
    for (size_t i = cuts.size() - 1; i > 0; --i) {
      Pass pass;
      const Status status = MakePass(steps, {row.begin() + cuts[i], row.begin() + cuts[i - 1]}, threads, &pass);
      if (status != Status::kOk) return status;
      if (pass.chain != nullptr) {
        memory->lane_stride = std::max(memory->lane_stride, pass.chain->lane_bytes());
        memory->lanes = std::max(memory->lanes, pass.chain->lanes());
      }
      passes->push_back(std::move(pass));
    }
  }
  std::sort(passes->begin(), passes->end(), [](const Pass& a, const Pass& b) { return a.output() < b.output(); });
  return Status::kOk;
}

std::string KernelName(const Steps& steps, const Pass& pass) {
  const Pass::Member& last = pass.members.back();
  const std::string name = std::string(steps[last.runner].op->kernel_name()) + (last.adds() ? "+add" : "");
  return pass.chain == nullptr ? name : "chain(" + std::to_string(pass.members.size()) + ") " + name;
}

}  // namespace dgms
