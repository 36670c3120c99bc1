package org.dgms.demo;

import android.content.Context;
import android.system.ErrnoException;
import android.system.OsConstants;
import org.dgms.demo.bench.BenchmarkException;

/** What went wrong in plain words, with what to do about it, and the exact message below. */
final class Reasons {
  private Reasons() {}

  /** The text for a dialog or a screen. */
  static String of(Context context, Throwable problem) {
    String message = message(problem);
    int advice = advice(problem);
    return advice == 0 ? message : context.getString(advice) + "\n\n" + message;
  }

  /** The exception's own message, or its kind where it has none. */
  static String message(Throwable problem) {
    return problem.getMessage() == null ? problem.getClass().getSimpleName() : problem.getMessage();
  }

  private static int advice(Throwable problem) {
    if (problem instanceof BenchmarkException) {
      switch (((BenchmarkException) problem).reason()) {
        case MODEL_UNREADABLE:
          return R.string.advice_model_unreadable;
        case MODEL_BROKEN:
          return R.string.advice_model_broken;
        case MODEL_UNSUPPORTED:
          return R.string.advice_model_unsupported;
        case RUNTIME_UNAVAILABLE:
          return R.string.advice_no_runtime;
        case OUT_OF_MEMORY:
          return R.string.advice_out_of_memory;
        default:
          return 0;
      }
    }
    if (problem instanceof OutOfMemoryError) {
      return R.string.advice_out_of_memory;
    }
    if (problem instanceof LinkageError) {
      return R.string.advice_no_runtime;
    }
    return isOutOfSpace(problem) ? R.string.advice_out_of_storage : 0;
  }

  private static boolean isOutOfSpace(Throwable problem) {
    for (Throwable cause = problem; cause != null; cause = cause.getCause()) {
      if (cause instanceof ErrnoException && ((ErrnoException) cause).errno == OsConstants.ENOSPC) {
        return true;
      }
      String message = cause.getMessage();
      if (message != null && message.contains("ENOSPC")) {
        return true;
      }
    }
    return false;
  }
}
