package org.dgms.demo;

import android.app.Activity;
import android.os.Build;
import android.window.OnBackInvokedCallback;
import android.window.OnBackInvokedDispatcher;

/**
 * Catches the back gesture on API 33 and newer, where {@code Activity.onBackPressed} is no longer
 * called for apps that target API 36. On older devices the activity's own {@code onBackPressed}
 * does it.
 */
final class BackGuard {
  private Object callback;

  /** Calls {@code action} instead of closing the activity, until {@link #release}. */
  void hold(Activity activity, Runnable action) {
    if (callback == null && Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
      callback = Api33.hold(activity, action);
    }
  }

  /** Lets the gesture close the activity again. */
  void release(Activity activity) {
    if (callback != null && Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
      Api33.release(activity, callback);
      callback = null;
    }
  }

  /**
   * A class of its own: classes that are missing on old devices are looked up only when this one is
   * loaded.
   */
  @RequiresApi(33)
  private static final class Api33 {
    static Object hold(Activity activity, final Runnable action) {
      OnBackInvokedCallback callback =
          new OnBackInvokedCallback() {
            @Override
            public void onBackInvoked() {
              action.run();
            }
          };
      activity
          .getOnBackInvokedDispatcher()
          .registerOnBackInvokedCallback(OnBackInvokedDispatcher.PRIORITY_DEFAULT, callback);
      return callback;
    }

    static void release(Activity activity, Object callback) {
      activity
          .getOnBackInvokedDispatcher()
          .unregisterOnBackInvokedCallback((OnBackInvokedCallback) callback);
    }
  }
}
