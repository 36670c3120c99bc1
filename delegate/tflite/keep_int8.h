// With dynamic int8: which maps between float layers are int8, with a quantisation that needs no look at their values,
// because the activation that ends them has two bounds (RELU6).
//
// Such a map is written by a convolution and read by convolutions (depthwise ones, too) with a codebook alone, all in
// one partition. So they hand on what they would else make floats of, measure and quantise again. A depthwise layer
// takes part if it both reads and writes such maps, and the kernels compute it faster then (PaysInInt8); else it stays
// float. It needs no codebook: its weights are few, so that the writer of the file may have found none worth it.
#ifndef DGMS_TFLITE_KEEP_INT8_H_
#define DGMS_TFLITE_KEEP_INT8_H_

#include <vector>

#include "kernels/select_kernel.h"
#include "tflite/claim.h"
#include "tflite/graph.h"

namespace dgms {

// Sets LayerMatch::int8_input and int8_output, and the matches' types of these tensors, of all operators of the claim.
// Layers that stay float (LayerMatch::stays_float) have none. May be called again when the claim has changed. Returns
// the operators whose types are others now: the runtime's node numbers.
std::vector<int> KeepInt8(const Graph& graph, const KernelSet& kernels, Claim* claim);

}  // namespace dgms

#endif  // DGMS_TFLITE_KEEP_INT8_H_
