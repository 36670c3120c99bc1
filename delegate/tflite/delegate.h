// The delegate object: what tflite_plugin_create_delegate returns and what its functions do.
#ifndef DGMS_TFLITE_DELEGATE_H_
#define DGMS_TFLITE_DELEGATE_H_

#include <string>
#include <vector>

#include "tflite/claim.h"
#include "tflite/options.h"
#include "tflite/profile.h"
#include "tflite/tflite_abi.h"

namespace dgms {

inline constexpr char kDelegateName[] = "DgmsDelegate";  // of its nodes, in the runtime's lists

// Returns a new delegate, or null with the reason in *error.
tfl::Delegate* CreateDelegate(const Options& options, std::string* error);

// Releases it; null is ignored. Interpreters that hold nodes of it keep what these need; interpreters that apply it
// again later (after a resize, say) get nothing from it and use their own kernels.
void DestroyDelegate(tfl::Delegate* delegate);

// What was measured so far with the option `profile`. Empty for null or a destroyed delegate.
std::vector<OpProfile> ReadProfile(tfl::Delegate* delegate);

// What the delegate runs now: the sum over the graphs that have nodes of it, plus those where it found nothing to claim
// when it was last applied. A graph that applies it again (after a resize, say) counts once, one whose interpreter is
// gone no more. Zeros for null or a destroyed delegate.
ClaimStatistics ReadClaim(tfl::Delegate* delegate);

}  // namespace dgms

#endif  // DGMS_TFLITE_DELEGATE_H_
