// Android's liblog on a desktop: to stderr.
#include <stdarg.h>
#include <stdio.h>

int __android_log_vprint(int priority, const char* tag, const char* format, va_list arguments);
int __android_log_print(int priority, const char* tag, const char* format, ...);
int __android_log_write(int priority, const char* tag, const char* text);

// One call of stdio for one line, so that lines of several threads do not mix.
int __android_log_write(int priority, const char* tag, const char* text) {
  static const char letters[] = "??VDIWEF";  // of android_LogPriority
  const char letter = priority >= 2 && priority <= 7 ? letters[priority] : '?';
  return fprintf(stderr, "%c %s: %s\n", letter, tag != NULL ? tag : "", text);
}

int __android_log_vprint(int priority, const char* tag, const char* format, va_list arguments) {
  char text[4096];  // what logcat keeps of one entry
  vsnprintf(text, sizeof(text), format, arguments);
  return __android_log_write(priority, tag, text);
}

int __android_log_print(int priority, const char* tag, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int written = __android_log_vprint(priority, tag, format, arguments);
  va_end(arguments);
  return written;
}
