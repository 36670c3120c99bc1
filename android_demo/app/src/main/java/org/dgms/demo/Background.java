package org.dgms.demo;

import android.app.Activity;
import android.os.Handler;
import android.os.Looper;

/**
 * Work away from the main thread whose outcome is delivered on it, to an activity that is still
 * there.
 *
 * @param <T> the outcome
 */
abstract class Background<T> {
  /** Runs on a thread of its own. */
  abstract T work() throws Exception;

  /** Receives the outcome on the main thread; not called once the activity is destroyed. */
  abstract void done(T outcome);

  /** Receives the exception or error that {@link #work} threw, likewise. */
  abstract void failed(Throwable reason);

  /** Starts the work for {@code activity}. */
  final void start(final Activity activity, String name) {
    final Handler main = new Handler(Looper.getMainLooper());
    new Thread(name) {
      @Override
      public void run() {
        Runnable delivery;
        try {
          delivery = deliver(activity, work(), null);
        } catch (Exception e) {
          delivery = deliver(activity, null, e);
        } catch (LinkageError | OutOfMemoryError e) {
          delivery = deliver(activity, null, e);
        }
        main.post(delivery);
      }
    }.start();
  }

  private Runnable deliver(final Activity activity, final T outcome, final Throwable reason) {
    return new Runnable() {
      @Override
      public void run() {
        if (activity.isDestroyed()) {
          return;
        }
        if (reason == null) {
          done(outcome);
        } else {
          failed(reason);
        }
      }
    };
  }
}
