#include "tflite/delegate.h"

#include <deque>
#include <exception>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "kernels/select_kernel.h"
#include "ops/thread_pool.h"
#include "tflite/build_ops.h"
#include "tflite/claim.h"
#include "tflite/graph.h"
#include "tflite/log.h"
#include "tflite/mapped_file.h"
#include "tflite/partition.h"

namespace dgms {
namespace {

// What all nodes of one delegate share. Nodes own it together with the delegate, so either may go first.
class State {
 public:
  State(const Options& options, const KernelSet* kernels) : options_(options), kernels_(kernels) {}

  ~State() {
    if (options_.profile && options_.print_profile) LogLine("profile\n" + profile_.Table());
  }

  const Options& options() const { return options_; }
  BuildSettings build_settings() const {
    return {kernels_, options_.num_threads, options_.dynamic_int8, options_.cache_filters};
  }
  Profile& profile() { return profile_; }

  // The thread pool, started when first needed; null if memory runs out.
  ThreadPool* pool() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (pool_ == nullptr) pool_ = ThreadPool::Create(options_.num_threads);
    return pool_.get();
  }

  // What Prepare hands to the partitions of one subgraph: put there by Prepare, taken by init, which the runtime calls
  // from inside Prepare, in the same thread and with the same context.
  struct Handover {
    std::map<int, PreparedOp> ops;  // by the runtime's node number
    std::shared_ptr<Scratch> scratch;
    std::shared_ptr<const ClaimStatistics> claim;
  };
  Handover* handover(tfl::Context* context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return &handovers_[context];
  }
  void EndHandover(tfl::Context* context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    handovers_.erase(context);
  }

  // Remembers what was claimed of a graph, instead of what was before. The runtime does not say when a graph is gone,
  // but it frees our nodes: they own the claim, and with the last of them it ends. Where nothing was claimed there are
  // no nodes, and the graph counts as long as its address is not taken by another.
  void Remember(tfl::Context* context, const std::shared_ptr<const ClaimStatistics>& claim) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto entry = claims_.begin(); entry != claims_.end();) {
      entry = entry->second.claim.expired() ? claims_.erase(entry) : std::next(entry);
    }
    claims_[context] = {claim, claim->claimed_nodes == 0 ? claim : nullptr};
  }
  ClaimStatistics Claims() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ClaimStatistics sum;
    for (const auto& entry : claims_) {
      const std::shared_ptr<const ClaimStatistics> claim = entry.second.claim.lock();
      if (claim != nullptr) sum.Add(*claim);
    }
    return sum;
  }

 private:
  struct RememberedClaim {
    std::weak_ptr<const ClaimStatistics> claim;
    std::shared_ptr<const ClaimStatistics> owner;  // null where nodes own it
  };

  const Options options_;
  const KernelSet* const kernels_;
  Profile profile_;
  std::mutex mutex_;
  std::unique_ptr<ThreadPool> pool_;
  std::map<tfl::Context*, Handover> handovers_;
  std::map<tfl::Context*, RememberedClaim> claims_;
};

// The struct that runtimes hold a pointer to. A runtime keeps that pointer in every node and reads flags through it,
// and nothing stops a user from destroying the delegate first. So shells are never freed: a destroyed one loses its
// state, claims nothing any more, and is given to a later delegate. Their number is that of delegates alive at one
// time.
struct Shell {
  tfl::Delegate delegate = {};
  std::mutex mutex;
  std::shared_ptr<State> state;

  std::shared_ptr<State> Get() {
    const std::lock_guard<std::mutex> lock(mutex);
    return state;
  }
  std::shared_ptr<State> Exchange(std::shared_ptr<State> next) {
    const std::lock_guard<std::mutex> lock(mutex);
    std::swap(state, next);
    return next;
  }
};

class Shells {
 public:
  static Shells& Instance() {
    static Shells* const shells = new Shells;  // never destroyed: interpreters may outlive static destructors
    return *shells;
  }

  Shell* Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) {
      all_.push_back(std::make_unique<Shell>());
      return all_.back().get();
    }
    Shell* shell = free_.front();  // the one destroyed longest ago
    free_.pop_front();
    return shell;
  }

  void Return(Shell* shell) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(shell);
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Shell>> all_;
  std::deque<Shell*> free_;
};

Shell* ShellOf(tfl::Delegate* delegate) { return static_cast<Shell*>(delegate->data); }

// What the runtime keeps as user_data of a node.
struct KernelNode {
  std::shared_ptr<State> state;  // first: destroyed last
  std::shared_ptr<const ClaimStatistics> claim;
  std::unique_ptr<Partition> partition;
};

void Report(tfl::Context* context, const char* what, const char* why) {
  if (context->ReportError != nullptr) context->ReportError(context, "%s: %s: %s", kDelegateName, what, why);
}

// Nothing may be thrown into the runtime, which is C here.
template <typename Function>
tfl::Status Guarded(tfl::Context* context, const char* what, const Function& function) {
  try {
    const std::string why = function();
    if (why.empty()) return tfl::kOk;
    Report(context, what, why.c_str());
  } catch (const std::bad_alloc&) {
    Report(context, what, StatusText(Status::kOutOfMemory));
  } catch (const std::exception& error) {
    Report(context, what, error.what());
  } catch (...) {
    Report(context, what, "unknown error");
  }
  return tfl::kError;
}

void* InitNode(tfl::Context* context, const char* buffer, size_t) {
  KernelNode* result = nullptr;
  Guarded(context, "init", [&]() -> std::string {
    const auto* params = reinterpret_cast<const tfl::DelegateParams*>(buffer);
    auto node = std::make_unique<KernelNode>();
    node->state = ShellOf(params->delegate)->Get();
    if (node->state == nullptr) return "the delegate was destroyed";
    ThreadPool* pool = node->state->pool();
    if (pool == nullptr) return StatusText(Status::kOutOfMemory);
    State::Handover* handover = node->state->handover(context);
    if (handover->scratch == nullptr) return "the runtime called it outside of the delegate's prepare";
    node->claim = handover->claim;
    const Resources resources = {node->state->build_settings(), pool,
                                 node->state->options().profile ? &node->state->profile() : nullptr, handover->scratch};
    node->partition = std::make_unique<Partition>(*params, &handover->ops, resources);
    result = node.release();
    return "";
  });
  return result;
}

void FreeNode(tfl::Context*, void* user_data) { delete static_cast<KernelNode*>(user_data); }

tfl::Status PrepareNode(tfl::Context* context, tfl::Node* node) {
  return Guarded(context, "prepare", [&]() -> std::string {
    auto* kernel = static_cast<KernelNode*>(node->user_data);
    return kernel == nullptr ? "init has failed" : kernel->partition->Prepare(context);
  });
}

tfl::Status InvokeNode(tfl::Context* context, tfl::Node* node) {
  return Guarded(context, "invoke", [&]() -> std::string {
    auto* kernel = static_cast<KernelNode*>(node->user_data);
    return kernel == nullptr ? "init has failed" : kernel->partition->Invoke(context);
  });
}

tfl::Registration NodeRegistration() {
  tfl::Registration registration = {};  // all of it: the runtime takes the newest, longest form by value
  registration.init = InitNode;
  registration.free = FreeNode;
  registration.prepare = PrepareNode;
  registration.invoke = InvokeNode;
  registration.builtin_code = tfl::kBuiltinDelegate;
  registration.custom_name = kDelegateName;
  registration.version = 1;
  return registration;
}

// After the runtime took this delegate's nodes out of a graph, tensors keep its mark, and another delegate could not
// take them. Where no node of ours is left, the marks are stale.
void ClearStaleMarks(const Graph& graph, tfl::Delegate* self) {
  for (int i = 0; i < graph.node_count(); ++i) {
    if (graph.node(i).node->delegate == self) return;
  }
  tfl::Context* context = graph.context();
  for (size_t i = 0; i < context->tensors_size; ++i) {
    if (context->tensors[i].delegate == self) context->tensors[i].delegate = nullptr;
  }
}

// The runtime's own preview says how many nodes there will be.
std::shared_ptr<const ClaimStatistics> Figures(const Graph& graph, const Claim& claim, const std::vector<int>& nodes,
                                               const BuiltOps& built) {
  auto figures = std::make_shared<ClaimStatistics>();
  for (const OpMatch& op : claim.ops) {
    ++(op.layer() != nullptr ? figures->claimed_operators : figures->weightless_operators);
    figures->weightless_operators += static_cast<int64_t>(op.folded.size());
  }
  for (const Refusal& refusal : claim.refusals) {
    (refusal.layer ? figures->refusals : figures->weightless_refusals).push_back(RefusalText(refusal));
  }
  figures->candidate_operators = figures->claimed_operators + static_cast<int64_t>(figures->refusals.size());
  figures->claimed_nodes = static_cast<int64_t>(nodes.size());
  figures->nodes_left = graph.node_count() - figures->claimed_nodes;
  std::vector<std::vector<int>> partitions;
  if (graph.Partitions(nodes, &partitions)) figures->partitions = static_cast<int64_t>(partitions.size());
  for (const auto& entry : built) figures->packed_bytes += static_cast<int64_t>(entry.second->packed_bytes());
  return figures;
}

void LogClaim(const ClaimStatistics& claim) {
  const auto number = [](int64_t value) { return static_cast<long long>(value); };
  LogLine(Format(
      "claimed %lld of %lld convolutions and fully connected layers and %lld other operators (%lld nodes) in "
      "%lld partitions, packed %lld bytes; %lld nodes are left to the runtime",
      number(claim.claimed_operators), number(claim.candidate_operators), number(claim.weightless_operators),
      number(claim.claimed_nodes), number(claim.partitions), number(claim.packed_bytes), number(claim.nodes_left)));
  for (const std::vector<std::string>* texts : {&claim.refusals, &claim.weightless_refusals}) {
    for (const std::string& refusal : *texts) LogLine("not claimed: " + refusal);
  }
}

struct HandoverScope {
  HandoverScope(State* state, tfl::Context* context) : state(state), context(context) {}
  ~HandoverScope() { state->EndHandover(context); }
  State* state;
  tfl::Context* context;
};

std::string PrepareGraph(tfl::Context* context, tfl::Delegate* self, State* state) {
  Graph graph;
  std::string why;
  const bool readable = graph.Read(context, &why);
  if (!readable) {
    if (state->options().log) LogLine("nothing claimed: " + why);
    return "";
  }
  ClearStaleMarks(graph, self);
  Claim claim = FindClaim(graph, self, state->options().claim);
  BuiltOps built;
  why = BuildOps(graph, state->build_settings(), &claim, &built);
  if (!why.empty()) return why;
  LetGoOfFilePages(CodesOf(claim));  // they are packed
  const std::vector<int> nodes = ClaimedNodes(graph, claim);
  const std::shared_ptr<const ClaimStatistics> figures = Figures(graph, claim, nodes, built);
  if (state->options().log) LogClaim(*figures);
  state->Remember(context, figures);
  if (nodes.empty()) return "";
  const OwnedIntArray replaced = NewIntArray(nodes);
  if (replaced == nullptr || state->pool() == nullptr) return StatusText(Status::kOutOfMemory);
  const HandoverScope scope(state, context);
  State::Handover* handover = state->handover(context);
  for (OpMatch& match : claim.ops) {
    const int node = match.node_index;
    handover->ops[node] = {std::move(match), std::move(built[node])};
  }
  handover->scratch = std::make_shared<Scratch>();
  handover->claim = figures;
  const tfl::Status status =
      context->ReplaceNodeSubsetsWithDelegateKernels(context, NodeRegistration(), replaced.get(), self);
  const bool all_taken = handover->ops.empty();
  if (status != tfl::kOk) return "the runtime refused the claim";
  return all_taken ? "" : "the runtime made no node for a claimed operator";
}

tfl::Status PrepareDelegate(tfl::Context* context, tfl::Delegate* self) {
  return Guarded(context, "applying the delegate", [&]() -> std::string {
    const std::shared_ptr<State> state = ShellOf(self)->Get();
    if (state == nullptr) {  // destroyed: take back the marks and leave all to the runtime
      Graph graph;
      std::string why;
      if (graph.Read(context, &why)) ClearStaleMarks(graph, self);
      return "";
    }
    return PrepareGraph(context, self, state.get());
  });
}

std::string IsaNames() {
  std::string names = "'auto'";
  for (Isa isa : kIsas) {
    if (KernelsFor(IsaName(isa)) != nullptr) names += std::string(", '") + IsaName(isa) + "'";
  }
  return names;
}

}  // namespace

tfl::Delegate* CreateDelegate(const Options& options, std::string* error) {
  const KernelSet* kernels = KernelsFor(options.isa);
  if (kernels == nullptr) {
    *error = "`isa` must be one that this machine and this build have: " + IsaNames() + ". Received: 'isa' = '" +
             options.isa + "'";
    return nullptr;
  }
  auto state = std::make_shared<State>(options, kernels);
  Shell* shell = Shells::Instance().Take();
  shell->Exchange(std::move(state));
  shell->delegate = {};
  shell->delegate.data = shell;
  shell->delegate.Prepare = PrepareDelegate;
  shell->delegate.flags = tfl::kDelegateFlagAllowDynamicTensors;
  return &shell->delegate;
}

void DestroyDelegate(tfl::Delegate* delegate) {
  if (delegate == nullptr) return;
  Shell* shell = ShellOf(delegate);
  const std::shared_ptr<State> state = shell->Exchange(nullptr);
  if (state != nullptr) Shells::Instance().Return(shell);  // else it was destroyed before: once is enough
}

std::vector<OpProfile> ReadProfile(tfl::Delegate* delegate) {
  const std::shared_ptr<State> state = delegate == nullptr ? nullptr : ShellOf(delegate)->Get();
  return state == nullptr ? std::vector<OpProfile>() : state->profile().Read();
}

ClaimStatistics ReadClaim(tfl::Delegate* delegate) {
  const std::shared_ptr<State> state = delegate == nullptr ? nullptr : ShellOf(delegate)->Get();
  return state == nullptr ? ClaimStatistics() : state->Claims();
}

}  // namespace dgms
