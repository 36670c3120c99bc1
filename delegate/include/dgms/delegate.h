/* The delegate's public C interface: the two functions of TFLite's external delegate plugins.
 *
 * Python:       ai_edge_litert.interpreter.load_delegate("libdgms_delegate.so", {"num_threads": "2"})
 * C++:          TfLiteExternalDelegateCreate, or dlopen and the functions below
 * Command line: benchmark_model --external_delegate_path=libdgms_delegate.so
 * --external_delegate_options="num_threads:2"
 *
 * The delegate claims convolutions, depthwise convolutions and fully connected layers, float or int8, whose filter is
 * decoded in the graph from 2-, 3- or 4-bit indices and a codebook (dgms_keras/format/FORMAT.md), together with the
 * decoding; and the operators between them (see the option `claim`). Everything else, and everything it cannot prove
 * right, is left to the runtime. int8 results are those of TFLite's reference kernels, bit for bit.
 */
#ifndef DGMS_DELEGATE_H_
#define DGMS_DELEGATE_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct TfLiteDelegate; /* TFLite's own type (tensorflow/lite/c/common.h) */

/* Options, as text. An unknown key, a key given twice and a value that is not in this list are errors.
 *
 * num_threads: "-1" (default), the number of CPUs, at most 4; or "1" to "64", the calling thread included. The
 *              interpreter's own number of threads is another thing and has no effect here.
 *
 * activations: what float layers compute with; int8 layers are not concerned. "float32" (default), or "dynamic_int8":
 *              the input of each layer is quantised to int8 when it runs: every batch row of a fully connected layer,
 *              every line of the map of a 1x1 convolution without padding, and every image of another convolution
 *              with a scale and a zero point of its own (from the smallest and the largest value, and 0); and the
 *              codebooks are rounded to int8, once. Sums are integers, outputs are float: faster, and about 40 dB
 *              above the noise. Results do not depend on the number of threads. A row, line or image with a NaN or an
 *              infinity gives NaN alone, wherever it is read. A depthwise convolution, and a layer whose weights are
 *              all zero, or not finite, or too small for a scale, or stored without a codebook, computes in float32.
 *              But a map that RELU6 or RELU_N1_TO_1 bounds is int8 throughout, with 8 bits over the activation's range,
 *              where convolutions with a codebook and depthwise ones write it and alone read it, and the writer's
 *              weights let one expect outputs that fill at least a quarter of the range. Then the depthwise convolution
 *              between two such maps computes in int8, too, and NaN becomes the range's lower end. Depthwise
 *              convolutions take part where the CPU's kernels are faster then (AVX-512 VNNI, and on 64-bit ARM dot
 *              products with windows that have a kernel of their own), with a codebook or without: plain weights are
 *              rounded to int8, each channel by itself.
 *
 * cache_filters: "0" (default), or "1": memory for speed. Float 3x3 convolutions with stride 1 over large maps keep
 *                their filters in memory as they multiply them, 16 bytes for each weight, instead of decoding and
 *                transforming them in every run. Results are the same, bit for bit.
 *
 * claim: "graph" (default), or "codebook". The delegate is for layers whose filter is decoded in the graph. "graph":
 *        the operators between them, too (layers with plain filters, ADD, pooling, RESHAPE ...), where they share a
 *        partition with such a layer, so that whole networks run in one piece. "codebook": those layers alone.
 *
 * isa: "auto" (default), or a kernel set that this build and this CPU have, for tests and comparisons: "portable",
 *      "avx2", "avx512", "avx512_vnni", "avx512_amx", "neon", "neon_dotprod", "neon_i8mm". Where the processor has AMX,
 *      the library asks Linux for its registers when the first delegate is created, whatever this option says; from
 *      then on the process's alternate signal stacks (sigaltstack) must have room for them: sysconf(_SC_MINSIGSTKSZ).
 *
 * log: "0" (default), or "1": say on stderr (on Android: in its log, with the tag dgms_delegate) what is claimed, what
 *      is not, and why.
 *
 * profile: "0" (default), or "1": measure every operation, and report in the same place when the delegate is gone.
 */
#define DGMS_OPTION_NUM_THREADS "num_threads"
#define DGMS_OPTION_ACTIVATIONS "activations"
#define DGMS_OPTION_CACHE_FILTERS "cache_filters"
#define DGMS_OPTION_CLAIM "claim"
#define DGMS_OPTION_ISA "isa"
#define DGMS_OPTION_LOG "log"
#define DGMS_OPTION_PROFILE "profile"

/* Returns a new delegate, or NULL after calling `report_error` (which may be NULL) with a message.
 * keys, values: num_options strings each; not kept. One delegate may serve several interpreters, also in different
 * threads. */
__attribute__((visibility("default"))) struct TfLiteDelegate* tflite_plugin_create_delegate(
    const char* const* keys, const char* const* values, size_t num_options, void (*report_error)(const char*));

/* Releases a delegate; NULL is ignored. Interpreters that still use it keep working until they are deleted themselves.
 */
__attribute__((visibility("default"))) void tflite_plugin_destroy_delegate(struct TfLiteDelegate* delegate);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* DGMS_DELEGATE_H_ */
