// The only symbols that the shared library shows (exports.map).
#include <exception>
#include <string>

#include "dgms/delegate.h"
#include "tflite/delegate.h"
#include "tflite/options.h"

namespace {

TfLiteDelegate* Create(const char* const* keys, const char* const* values, size_t count, std::string* error) {
  // Python's binding declares the count as a C int; only these bits of it are then defined.
  count = static_cast<unsigned int>(count);
  dgms::Options options;
  if (!dgms::ParseOptions(keys, values, count, &options, error)) return nullptr;
  return reinterpret_cast<TfLiteDelegate*>(dgms::CreateDelegate(options, error));
}

}  // namespace

extern "C" TfLiteDelegate* tflite_plugin_create_delegate(const char* const* keys, const char* const* values,
                                                         size_t num_options, void (*report_error)(const char*)) {
  try {
    std::string error;
    TfLiteDelegate* delegate = Create(keys, values, num_options, &error);
    if (delegate == nullptr && report_error != nullptr) report_error(error.c_str());
    return delegate;
  } catch (const std::exception& exception) {
    if (report_error != nullptr) report_error(exception.what());
  } catch (...) {
    if (report_error != nullptr) report_error("unknown error");
  }
  return nullptr;
}

extern "C" void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) {
  try {
    dgms::DestroyDelegate(reinterpret_cast<dgms::tfl::Delegate*>(delegate));
  } catch (...) {  // out of memory while the profile is written: there is nobody to tell
  }
}
