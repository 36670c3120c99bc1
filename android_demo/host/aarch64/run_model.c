// Runs a model in Android's TFLite on an emulated 64-bit ARM Linux: what a phone's process does, by TFLite's C API.
//   run_model SHIMS TFLITE DELEGATE MODEL INPUTS OUTPUTS PATH...
//     SHIMS     folder of bionic_shim/build.sh
//     TFLITE    jni/arm64-v8a/libtensorflowlite_jni.so of the AAR, unmodified
//     DELEGATE  our libdgms_delegate.so
//     INPUTS    prefix of the input files: <INPUTS>.input<i>.bin, raw tensor bytes
//     OUTPUTS   prefix of the files it writes: <OUTPUTS>.<PATH>.output<i>.bin
//     PATH      builtin (TFLite's own kernels), xnnpack (and XNNPACK), or delegate (ours, then XNNPACK for the rest: as the app does)
// One line per output on stdout: "PATH output<i> TYPE". Exit status 1, with a line on stderr: something failed.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/lite/c/c_api.h"

// bionic keeps the value that guards stack frames at the thread pointer + 0x28, and Android's library reads it there. glibc has this program's
// first thread-local bytes in that place: they must exist, and nobody may change them. (volatile, and read in main, so that they are kept.)
static __thread volatile char stack_guard_place[64] = {1};

static void Fail(const char* what, const char* why) {
  fprintf(stderr, "run_model: %s: %s\n", what, why != NULL ? why : "failed");
  exit(1);
}

static void* Load(const char* file) {
  void* library = dlopen(file, RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL) Fail("dlopen", dlerror());
  return library;
}

static void* Symbol(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) Fail("dlsym", dlerror());
  return symbol;
}

// TFLite's functions, typed by its own header.
static struct {
#define FUNCTIONS(F)                                                                                                                        \
  F(TfLiteVersion) F(TfLiteModelCreateFromFile) F(TfLiteModelDelete) F(TfLiteInterpreterOptionsCreate) F(TfLiteInterpreterOptionsDelete)    \
  F(TfLiteInterpreterOptionsSetNumThreads) F(TfLiteInterpreterOptionsAddDelegate) F(TfLiteInterpreterCreate) F(TfLiteInterpreterDelete)     \
  F(TfLiteInterpreterAllocateTensors) F(TfLiteInterpreterInvoke) F(TfLiteInterpreterGetInputTensorCount)                                    \
  F(TfLiteInterpreterGetInputTensor) F(TfLiteInterpreterGetOutputTensorCount) F(TfLiteInterpreterGetOutputTensor) F(TfLiteTensorType)       \
  F(TfLiteTensorByteSize) F(TfLiteTensorCopyFromBuffer) F(TfLiteTensorCopyToBuffer)
#define MEMBER(name) __typeof__(name)* name;
  FUNCTIONS(MEMBER)
} tfl;

// XNNPACK's options: only the first member is known here; later versions of the struct are longer, which 512 bytes allow for. A struct of this
// size is returned through a pointer that the caller gives, so the callee fills in what it knows.
typedef struct {
  int32_t num_threads;
  char unknown[508];
} XnnpackOptions;

typedef struct {
  TfLiteDelegate* (*create)(const char* const*, const char* const*, size_t, void (*)(const char*));
  void (*destroy)(TfLiteDelegate*);
  XnnpackOptions (*xnnpack_options)(void);
  TfLiteDelegate* (*xnnpack_create)(const XnnpackOptions*);
  void (*xnnpack_destroy)(TfLiteDelegate*);
} Delegates;

static void PrintError(const char* text) { fprintf(stderr, "run_model: delegate: %s\n", text); }

static char* ReadFile(const char* name, size_t bytes) {
  FILE* file = fopen(name, "rb");
  char* data = malloc(bytes + 1);
  if (file == NULL || data == NULL || fread(data, 1, bytes + 1, file) != bytes) Fail(name, "not a readable file of the tensor's size");
  fclose(file);
  return data;
}

static void WriteFile(const char* name, const char* data, size_t bytes) {
  FILE* file = fopen(name, "wb");
  if (file == NULL || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) Fail(name, "cannot be written");
}

static void FeedInputs(TfLiteInterpreter* interpreter, const char* prefix) {
  for (int i = 0; i < tfl.TfLiteInterpreterGetInputTensorCount(interpreter); ++i) {
    TfLiteTensor* tensor = tfl.TfLiteInterpreterGetInputTensor(interpreter, i);
    char name[4096];
    snprintf(name, sizeof(name), "%s.input%d.bin", prefix, i);
    const size_t bytes = tfl.TfLiteTensorByteSize(tensor);
    char* data = ReadFile(name, bytes);
    if (tfl.TfLiteTensorCopyFromBuffer(tensor, data, bytes) != kTfLiteOk) Fail("TfLiteTensorCopyFromBuffer", name);
    free(data);
  }
}

static void WriteOutputs(const TfLiteInterpreter* interpreter, const char* prefix, const char* path) {
  for (int i = 0; i < tfl.TfLiteInterpreterGetOutputTensorCount(interpreter); ++i) {
    const TfLiteTensor* tensor = tfl.TfLiteInterpreterGetOutputTensor(interpreter, i);
    char name[4096];
    snprintf(name, sizeof(name), "%s.%s.output%d.bin", prefix, path, i);
    const size_t bytes = tfl.TfLiteTensorByteSize(tensor);
    char* data = malloc(bytes + 1);
    if (data == NULL || tfl.TfLiteTensorCopyToBuffer(tensor, data, bytes) != kTfLiteOk) Fail("TfLiteTensorCopyToBuffer", name);
    WriteFile(name, data, bytes);
    free(data);
    const TfLiteType type = tfl.TfLiteTensorType(tensor);
    printf("%s output%d %s\n", path, i, type == kTfLiteFloat32 ? "float32" : type == kTfLiteInt8 ? "int8" : "other");
  }
}

static void Run(const Delegates* delegates, const char* model_file, const char* inputs, const char* outputs, const char* path) {
  TfLiteModel* model = tfl.TfLiteModelCreateFromFile(model_file);
  if (model == NULL) Fail("TfLiteModelCreateFromFile", model_file);
  TfLiteInterpreterOptions* options = tfl.TfLiteInterpreterOptionsCreate();
  tfl.TfLiteInterpreterOptionsSetNumThreads(options, 1);
  TfLiteDelegate *ours = NULL, *xnnpack = NULL;
  if (strcmp(path, "delegate") == 0) {
    const char* keys[] = {"num_threads", "log", "profile"};
    const char* values[] = {"2", "1", "1"};
    ours = delegates->create(keys, values, 3, PrintError);
    if (ours == NULL) Fail("tflite_plugin_create_delegate", model_file);
    tfl.TfLiteInterpreterOptionsAddDelegate(options, ours);
  }
  if (strcmp(path, "builtin") != 0) {
    XnnpackOptions xnnpack_options = delegates->xnnpack_options();
    xnnpack_options.num_threads = 2;
    xnnpack = delegates->xnnpack_create(&xnnpack_options);
    if (xnnpack == NULL) Fail("TfLiteXNNPackDelegateCreate", model_file);
    tfl.TfLiteInterpreterOptionsAddDelegate(options, xnnpack);
  }
  TfLiteInterpreter* interpreter = tfl.TfLiteInterpreterCreate(model, options);
  if (interpreter == NULL) Fail("TfLiteInterpreterCreate", model_file);
  if (tfl.TfLiteInterpreterAllocateTensors(interpreter) != kTfLiteOk) Fail("TfLiteInterpreterAllocateTensors", model_file);
  FeedInputs(interpreter, inputs);
  if (tfl.TfLiteInterpreterInvoke(interpreter) != kTfLiteOk) Fail("TfLiteInterpreterInvoke", model_file);
  WriteOutputs(interpreter, outputs, path);
  tfl.TfLiteInterpreterDelete(interpreter);
  if (xnnpack != NULL) delegates->xnnpack_destroy(xnnpack);
  if (ours != NULL) delegates->destroy(ours);
  tfl.TfLiteInterpreterOptionsDelete(options);
  tfl.TfLiteModelDelete(model);
}

int main(int count, char** arguments) {
  if (count < 8 || stack_guard_place[0] != 1) Fail("usage", "run_model SHIMS TFLITE DELEGATE MODEL INPUTS OUTPUTS PATH...");
  static const char* const shims[] = {"c", "m", "dl", "log"};
  for (int i = 0; i < 4; ++i) {
    char name[4096];
    snprintf(name, sizeof(name), "%s/lib%s_shim.so", arguments[1], shims[i]);
    Load(name);
  }
  void* runtime = Load(arguments[2]);
#define FIND(name) tfl.name = (__typeof__(name)*)Symbol(runtime, #name);
  FUNCTIONS(FIND)
  void* plugin = Load(arguments[3]);
  Delegates delegates;
  delegates.create = (__typeof__(delegates.create))Symbol(plugin, "tflite_plugin_create_delegate");
  delegates.destroy = (__typeof__(delegates.destroy))Symbol(plugin, "tflite_plugin_destroy_delegate");
  delegates.xnnpack_options = (__typeof__(delegates.xnnpack_options))Symbol(runtime, "TfLiteXNNPackDelegateOptionsDefault");
  delegates.xnnpack_create = (__typeof__(delegates.xnnpack_create))Symbol(runtime, "TfLiteXNNPackDelegateCreate");
  delegates.xnnpack_destroy = (__typeof__(delegates.xnnpack_destroy))Symbol(runtime, "TfLiteXNNPackDelegateDelete");
  fprintf(stderr, "run_model: TFLite %s\n", tfl.TfLiteVersion());
  for (int i = 7; i < count; ++i) {
    if (strcmp(arguments[i], "builtin") != 0 && strcmp(arguments[i], "xnnpack") != 0 && strcmp(arguments[i], "delegate") != 0) {
      Fail("PATH must be builtin, xnnpack or delegate. Received", arguments[i]);
    }
    Run(&delegates, arguments[4], arguments[5], arguments[6], arguments[i]);
  }
  return 0;
}
