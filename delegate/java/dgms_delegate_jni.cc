// The native half of org.dgms.tflite.DgmsDelegate. It makes the same delegates from the same options as the plugin
// (tflite/exports.cc), and reads what they claimed and measured.
//
// No C++ exception crosses into the JVM: every entry point runs inside Guarded, which turns them into Java's. A handle
// is the address of a TfLiteDelegate; DgmsDelegate passes none after it was closed.
#include <jni.h>

#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "kernels/cpu_features.h"
#include "kernels/select_kernel.h"
#include "tflite/delegate.h"
#include "tflite/options.h"

namespace {

constexpr char kUnsupportedOperation[] = "java/lang/UnsupportedOperationException";
constexpr char kOutOfMemory[] = "java/lang/OutOfMemoryError";
constexpr char kRuntime[] = "java/lang/RuntimeException";
constexpr char kString[] = "java/lang/String";
constexpr char kClaimSummary[] = "org/dgms/tflite/ClaimSummary";
constexpr char kNodeCounter[] = "org/dgms/tflite/NodeCounter";

// Thrown where a call of the JVM has left a Java exception pending: that one is what the caller shall see.
struct JavaExceptionPending {};

// For results of JNI functions, which are null exactly when an exception is pending.
template <typename T>
T Checked(T result) {
  if (result == nullptr) throw JavaExceptionPending();
  return result;
}

// After JNI functions that return nothing.
void CheckPending(JNIEnv* env) {
  if (env->ExceptionCheck()) throw JavaExceptionPending();
}

void Throw(JNIEnv* env, const char* java_class, const char* message) {
  const jclass exception = env->FindClass(java_class);
  if (exception != nullptr) env->ThrowNew(exception, message);  // else FindClass has thrown
}

// Runs `function`; where it throws, a Java exception is pending and the result is a zero or a null.
template <typename Result, typename Function>
Result Guarded(JNIEnv* env, const Function& function) {
  try {
    return function();
  } catch (const JavaExceptionPending&) {
  } catch (const std::bad_alloc&) {
    Throw(env, kOutOfMemory, "DgmsDelegate: out of memory");
  } catch (const std::exception& error) {
    Throw(env, kRuntime, error.what());
  } catch (...) {
    Throw(env, kRuntime, "DgmsDelegate: unknown error");
  }
  return Result();
}

// The modified UTF-8 of a Java string, which for ASCII, and so for every valid option, is the text itself.
std::string TextOf(JNIEnv* env, jstring string) {
  const char* chars = Checked(env->GetStringUTFChars(string, nullptr));
  std::string text;
  try {
    text = chars;
  } catch (...) {
    env->ReleaseStringUTFChars(string, chars);
    throw;
  }
  env->ReleaseStringUTFChars(string, chars);
  return text;
}

std::vector<std::string> TextsOf(JNIEnv* env, jobjectArray strings) {
  std::vector<std::string> texts;
  const jsize count = env->GetArrayLength(strings);
  for (jsize i = 0; i < count; ++i) {
    const auto string = static_cast<jstring>(Checked(env->GetObjectArrayElement(strings, i)));
    texts.push_back(TextOf(env, string));
    env->DeleteLocalRef(string);
  }
  return texts;
}

// Makes Java strings of texts that may come from a model file. NewStringUTF wants valid modified UTF-8 and may abort
// the process otherwise; Java's own decoder replaces what is not UTF-8.
class StringMaker {
 public:
  explicit StringMaker(JNIEnv* env)
      : env_(env),
        string_(Checked(env->FindClass(kString))),
        constructor_(Checked(env->GetMethodID(string_, "<init>", "([BLjava/lang/String;)V"))),
        utf8_(Checked(env->NewStringUTF("UTF-8"))) {}

  jstring Make(const std::string& text) const {
    const auto size = static_cast<jsize>(text.size());
    const jbyteArray bytes = Checked(env_->NewByteArray(size));
    env_->SetByteArrayRegion(bytes, 0, size, reinterpret_cast<const jbyte*>(text.data()));
    CheckPending(env_);
    const auto string = static_cast<jstring>(Checked(env_->NewObject(string_, constructor_, bytes, utf8_)));
    env_->DeleteLocalRef(bytes);
    return string;
  }

  jobjectArray MakeArray(const std::vector<std::string>& texts) const {
    const jobjectArray array = Checked(env_->NewObjectArray(static_cast<jsize>(texts.size()), string_, nullptr));
    for (size_t i = 0; i < texts.size(); ++i) {
      const jstring string = Make(texts[i]);
      env_->SetObjectArrayElement(array, static_cast<jsize>(i), string);
      CheckPending(env_);
      env_->DeleteLocalRef(string);  // the JVM promises no more than 16 of them
    }
    return array;
  }

 private:
  JNIEnv* const env_;
  const jclass string_;
  const jmethodID constructor_;
  const jstring utf8_;
};

dgms::tfl::Delegate* DelegateOf(jlong handle) {
  return reinterpret_cast<dgms::tfl::Delegate*>(static_cast<intptr_t>(handle));
}

std::vector<std::string> FeatureNames(const dgms::CpuFeatures& cpu) {
  std::vector<std::string> names;
  const auto add = [&names](bool has, const char* name) {
    if (has) names.emplace_back(name);
  };
  add(cpu.avx2, "avx2");
  add(cpu.avx512, "avx512");
  add(cpu.avx512_vnni, "avx512_vnni");
  add(cpu.avx512_amx, "avx512_amx");
  add(cpu.neon, "neon");
  add(cpu.neon_dotprod, "neon_dotprod");
  add(cpu.neon_i8mm, "neon_i8mm");
  return names;
}

jlong Create(JNIEnv* env, jobjectArray java_keys, jobjectArray java_values) {
  const std::vector<std::string> keys = TextsOf(env, java_keys), values = TextsOf(env, java_values);
  std::vector<const char*> key_texts, value_texts;
  for (const std::string& key : keys) key_texts.push_back(key.c_str());
  for (const std::string& value : values) value_texts.push_back(value.c_str());
  dgms::Options options;
  std::string error;
  dgms::tfl::Delegate* delegate = nullptr;
  if (dgms::ParseOptions(key_texts.data(), value_texts.data(), key_texts.size(), &options, &error)) {
    options.print_profile = false;  // Java reads it: DgmsDelegate.counters()
    delegate = dgms::CreateDelegate(options, &error);
  }
  if (delegate == nullptr) Throw(env, kUnsupportedOperation, error.c_str());
  return static_cast<jlong>(reinterpret_cast<intptr_t>(delegate));
}

jobject Claim(JNIEnv* env, jlong handle) {
  const dgms::ClaimStatistics claim = dgms::ReadClaim(DelegateOf(handle));
  const jobjectArray refusals = StringMaker(env).MakeArray(claim.refusals);
  const jclass summary = Checked(env->FindClass(kClaimSummary));
  const jmethodID constructor = Checked(env->GetMethodID(summary, "<init>", "(IIIJ[Ljava/lang/String;)V"));
  return Checked(env->NewObject(summary, constructor, static_cast<jint>(claim.claimed_operators),
                                static_cast<jint>(claim.candidate_operators), static_cast<jint>(claim.claimed_nodes),
                                static_cast<jlong>(claim.packed_bytes), refusals));
}

jobjectArray Counters(JNIEnv* env, jlong handle) {
  const std::vector<dgms::OpProfile> profile = dgms::ReadProfile(DelegateOf(handle));
  const StringMaker strings(env);
  const jclass counter = Checked(env->FindClass(kNodeCounter));
  const jmethodID constructor =
      Checked(env->GetMethodID(counter, "<init>", "(Ljava/lang/String;Ljava/lang/String;JJJJJ)V"));
  const jobjectArray array = Checked(env->NewObjectArray(static_cast<jsize>(profile.size()), counter, nullptr));
  for (size_t i = 0; i < profile.size(); ++i) {
    const dgms::OpProfile& op = profile[i];
    const jstring name = strings.Make(op.name), kernel = strings.Make(op.kernel);
    const jobject entry =
        Checked(env->NewObject(counter, constructor, name, kernel, static_cast<jlong>(op.calls),
                               static_cast<jlong>(op.macs), static_cast<jlong>(op.packed_bytes),
                               static_cast<jlong>(op.nanoseconds), static_cast<jlong>(op.fastest_nanoseconds)));
    env->SetObjectArrayElement(array, static_cast<jsize>(i), entry);
    CheckPending(env);
    env->DeleteLocalRef(entry);
    env->DeleteLocalRef(kernel);
    env->DeleteLocalRef(name);
  }
  return array;
}

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_org_dgms_tflite_DgmsDelegate_nativeCreate(JNIEnv* env, jclass, jobjectArray keys,
                                                                       jobjectArray values) {
  return Guarded<jlong>(env, [&] { return Create(env, keys, values); });
}

JNIEXPORT void JNICALL Java_org_dgms_tflite_DgmsDelegate_nativeDestroy(JNIEnv* env, jclass, jlong handle) {
  Guarded<int>(env, [&] {
    dgms::DestroyDelegate(DelegateOf(handle));
    return 0;
  });
}

JNIEXPORT jobject JNICALL Java_org_dgms_tflite_DgmsDelegate_nativeClaim(JNIEnv* env, jclass, jlong handle) {
  return Guarded<jobject>(env, [&] { return Claim(env, handle); });
}

JNIEXPORT jobjectArray JNICALL Java_org_dgms_tflite_DgmsDelegate_nativeCounters(JNIEnv* env, jclass, jlong handle) {
  return Guarded<jobjectArray>(env, [&] { return Counters(env, handle); });
}

JNIEXPORT jstring JNICALL Java_org_dgms_tflite_DgmsDelegate_nativeKernelSet(JNIEnv* env, jclass) {
  return Guarded<jstring>(env, [&] { return StringMaker(env).Make(dgms::IsaName(dgms::BestKernels()->isa)); });
}

JNIEXPORT jobjectArray JNICALL Java_org_dgms_tflite_DgmsDelegate_nativeCpuFeatures(JNIEnv* env, jclass) {
  return Guarded<jobjectArray>(env, [&] { return StringMaker(env).MakeArray(FeatureNames(dgms::DetectCpu())); });
}

}  // extern "C"
