// Lines for people: on stderr, or in Android's log.
#ifndef DGMS_TFLITE_LOG_H_
#define DGMS_TFLITE_LOG_H_

#include <string>

namespace dgms {

// Writes one line, "dgms: " and `text`, in one piece (lines of different threads do not mix).
void LogLine(const std::string& text);

// printf into a string.
__attribute__((format(printf, 1, 2))) std::string Format(const char* format, ...);

}  // namespace dgms

#endif  // DGMS_TFLITE_LOG_H_
