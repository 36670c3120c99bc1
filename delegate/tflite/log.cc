#include "tflite/log.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#ifdef __ANDROID__
#include <android/log.h>
#endif

namespace dgms {

void LogLine(const std::string& text) {
#ifdef __ANDROID__
  // One entry a line: logcat cuts an entry after about 4,000 bytes.
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    __android_log_write(ANDROID_LOG_INFO, "dgms_delegate", text.substr(begin, end - begin).c_str());
    begin = end + 1;
  }
#else
  const std::string line = "dgms: " + text + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
#endif
}

std::string Format(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, arguments);
  va_end(arguments);
  std::string text(length > 0 ? static_cast<size_t>(length) : 0, '\0');
  if (length > 0) std::vsnprintf(text.data(), text.size() + 1, format, again);
  va_end(again);
  return text;
}

}  // namespace dgms
