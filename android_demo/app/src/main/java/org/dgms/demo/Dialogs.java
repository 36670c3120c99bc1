package org.dgms.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.app.Dialog;
import android.content.DialogInterface;
import android.view.View;
import android.widget.ProgressBar;
import android.widget.TextView;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.WeakHashMap;

/**
 * The app's dialogs. Those that are open go with their activity: {@link #dismissAll}. Main thread
 * only.
 */
final class Dialogs {
  private static final Map<Activity, List<Dialog>> OPEN = new WeakHashMap<Activity, List<Dialog>>();

  private Dialogs() {}

  /** What went wrong, and the reason with what to do about it. */
  static void showError(Activity activity, int title, String reason) {
    show(
        activity,
        new AlertDialog.Builder(activity)
            .setTitle(title)
            .setMessage(reason)
            .setPositiveButton(android.R.string.ok, null)
            .create());
  }

  /** Asks before something that cannot be taken back. */
  static void ask(Activity activity, String question, int yes, int no, final Runnable action) {
    show(
        activity,
        new AlertDialog.Builder(activity)
            .setMessage(question)
            .setPositiveButton(
                yes,
                new DialogInterface.OnClickListener() {
                  @Override
                  public void onClick(DialogInterface dialog, int which) {
                    action.run();
                  }
                })
            .setNegativeButton(no, null)
            .create());
  }

  /** Closes the dialogs of an activity that goes away. */
  static void dismissAll(Activity activity) {
    List<Dialog> dialogs = OPEN.remove(activity);
    if (dialogs != null) {
      for (Dialog dialog : dialogs) {
        dialog.dismiss();
      }
    }
  }

  private static void show(Activity activity, Dialog dialog) {
    if (activity.isFinishing() || activity.isDestroyed()) {
      return;
    }
    List<Dialog> dialogs = OPEN.get(activity);
    if (dialogs == null) {
      dialogs = new ArrayList<Dialog>();
      OPEN.put(activity, dialogs);
    }
    dialogs.add(dialog);
    dialog.show();
  }

  /** Progress of a file that is copied into the app. */
  static final class Copying {
    private final Activity activity;
    private final Dialog dialog;
    private final ProgressBar bar;
    private final TextView text;

    Copying(Activity activity) {
      this.activity = activity;
      View content = activity.getLayoutInflater().inflate(R.layout.dialog_copying, null);
      bar = content.findViewById(R.id.copy_progress);
      text = content.findViewById(R.id.copy_text);
      dialog =
          new AlertDialog.Builder(activity)
              .setTitle(R.string.copying)
              .setView(content)
              .setCancelable(false)
              .create();
      Dialogs.show(activity, dialog);
    }

    /** Shows how many bytes are done, of {@code total} if that is known (else -1). */
    void show(long bytes, long total) {
      Locale locale = activity.getResources().getConfiguration().getLocales().get(0);
      bar.setIndeterminate(total <= 0);
      if (total > 0) {
        bar.setProgress((int) (1000 * bytes / total));
      }
      text.setText(Formats.bytes(bytes, locale));
    }

    void dismiss() {
      dialog.dismiss();
    }
  }
}
