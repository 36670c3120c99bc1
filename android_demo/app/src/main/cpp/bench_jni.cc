// The native half of org.dgms.demo.bench.XnnpackDelegate and CpuAffinity.

#include <dlfcn.h>
#include <jni.h>
#include <sched.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace {

// Functions that TFLite's library exports (tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h), looked up when
// needed: the app is not linked against TFLite, whose AAR has no headers of XNNPACK.
//
// The options struct grows from version to version; all that is stable is its first member, int32_t num_threads.
// TfLiteXNNPackDelegateOptionsDefault returns it by value. It has 24 bytes in 2.16.1 (on 64-bit ABIs), and members are
// only added. In every ABI that we build for (AArch64, ARM, x86-64), a struct of more than 16 bytes is returned through
// a hidden pointer to memory of the caller: x8, r0 and rdi. The callee writes its own struct there and never learns the
// size of ours, so asking for a larger one gives any version room enough.
constexpr size_t kOptionsRoom = 512;
struct XnnpackOptions {
  int32_t num_threads;
  char rest[kOptionsRoom - sizeof(int32_t)];
};
static_assert(sizeof(XnnpackOptions) == kOptionsRoom, "returned through a hidden pointer, with room for later members");

using OptionsDefaultFunction = XnnpackOptions (*)();
using CreateFunction = void* (*)(const XnnpackOptions*);
using DeleteFunction = void (*)(void*);

constexpr const char* kTfliteLibrary = "libtensorflowlite_jni.so";

struct Xnnpack {
  OptionsDefaultFunction options_default = nullptr;
  CreateFunction create = nullptr;
  DeleteFunction destroy = nullptr;
  std::string problem;  // empty: the functions are there
};

Xnnpack FindXnnpack() {
  Xnnpack found;
  // By name: TFLite's Java classes have loaded the library already, so this finds that one.
  void* library = dlopen(kTfliteLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* error = dlerror();
    found.problem = "TFLite's library must be loaded. Received: " + std::string(error ? error : kTfliteLibrary);
    return found;
  }
  found.options_default =
      reinterpret_cast<OptionsDefaultFunction>(dlsym(library, "TfLiteXNNPackDelegateOptionsDefault"));
  found.create = reinterpret_cast<CreateFunction>(dlsym(library, "TfLiteXNNPackDelegateCreate"));
  found.destroy = reinterpret_cast<DeleteFunction>(dlsym(library, "TfLiteXNNPackDelegateDelete"));
  if (!found.options_default || !found.create || !found.destroy) {
    found.problem = std::string(kTfliteLibrary) + " must export TfLiteXNNPackDelegateOptionsDefault, Create and Delete";
  }
  return found;  // the library stays open: its functions are used as long as the process lives
}

const Xnnpack& GetXnnpack() {
  static const Xnnpack xnnpack = FindXnnpack();
  return xnnpack;
}

void Throw(JNIEnv* env, const char* exception, const std::string& message) {
  jclass type = env->FindClass(exception);
  if (type != nullptr) {
    env->ThrowNew(type, message.c_str());
  }
}

void ThrowErrno(JNIEnv* env, const std::string& what) {
  const int error = errno;  // before anything else changes it
  Throw(env, "java/lang/IllegalStateException", what + ": " + std::strerror(error));
}

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_org_dgms_demo_bench_XnnpackDelegate_nativeCreate(JNIEnv* env, jclass, jint num_threads) {
  const Xnnpack& xnnpack = GetXnnpack();
  if (!xnnpack.problem.empty()) {
    Throw(env, "java/lang/UnsupportedOperationException", xnnpack.problem);
    return 0;
  }
  XnnpackOptions options = xnnpack.options_default();
  options.num_threads = num_threads;
  void* delegate = xnnpack.create(&options);
  if (delegate == nullptr) {
    Throw(env, "java/lang/UnsupportedOperationException",
          "XNNPACK must support this processor. Received: no delegate from TfLiteXNNPackDelegateCreate");
  }
  return static_cast<jlong>(reinterpret_cast<intptr_t>(delegate));
}

JNIEXPORT void JNICALL Java_org_dgms_demo_bench_XnnpackDelegate_nativeDelete(JNIEnv*, jclass, jlong handle) {
  GetXnnpack().destroy(reinterpret_cast<void*>(static_cast<intptr_t>(handle)));
}

JNIEXPORT jintArray JNICALL Java_org_dgms_demo_bench_CpuAffinity_nativeGet(JNIEnv* env, jclass) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) {  // 0: the calling thread
    ThrowErrno(env, "sched_getaffinity");
    return nullptr;
  }
  std::vector<jint> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) {
      cpus.push_back(cpu);
    }
  }
  jintArray result = env->NewIntArray(static_cast<jsize>(cpus.size()));
  if (result != nullptr) {
    env->SetIntArrayRegion(result, 0, static_cast<jsize>(cpus.size()), cpus.data());
  }
  return result;
}

JNIEXPORT void JNICALL Java_org_dgms_demo_bench_CpuAffinity_nativeSet(JNIEnv* env, jclass, jintArray cpus) {
  const jsize count = env->GetArrayLength(cpus);
  jint* values = env->GetIntArrayElements(cpus, nullptr);
  if (values == nullptr) {
    return;  // OutOfMemoryError is pending
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  for (jsize i = 0; i < count; ++i) {
    // Java's half lets only 0 to 1023 through. bionic's set of 32-bit processes is smaller.
    if (values[i] < CPU_SETSIZE) {
      CPU_SET(values[i], &set);
    }
  }
  env->ReleaseIntArrayElements(cpus, values, JNI_ABORT);
  if (sched_setaffinity(0, sizeof(set), &set) != 0) {
    ThrowErrno(env, "sched_setaffinity");
  }
}

}  // extern "C"
