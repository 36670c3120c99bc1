package org.dgms.demo;

import static org.junit.Assert.assertTrue;
import static org.junit.Assume.assumeNotNull;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.Context;
import android.content.Intent;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.os.Looper;
import android.view.View;
import android.view.ViewGroup;
import android.widget.TextView;
import java.io.File;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.time.Duration;
import java.util.concurrent.Callable;
import org.dgms.demo.bench.BenchmarkSettings;
import org.robolectric.Robolectric;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.shadows.ShadowLog;

/** What the tests of the screens share: the native runtime, waiting, pictures. */
final class Screens {
  /** An ordinary phone, upright. */
  static final String PHONE = "w400dp-h820dp-port-notnight-xhdpi";

  private Screens() {}

  /**
   * Loads what stands for Android's C library; without it (a build by Gradle) the test is skipped.
   */
  static void loadRuntime() throws Exception {
    assumeNotNull(
        "the Android runtime runs on a desktop only through the shims",
        System.getProperty("dgms.shim.dir"));
    Class.forName("org.dgms.host.ShimLoader").getMethod("load").invoke(null);
  }

  static Context app() {
    return RuntimeEnvironment.getApplication();
  }

  /** Lets the main thread work, and time pass on it, until something is so. */
  static void await(String what, int seconds, Callable<Boolean> condition) throws Exception {
    long end = System.nanoTime() + seconds * 1_000_000_000L;
    while (!condition.call()) {
      assertTrue(
          "not within " + seconds + " s: " + what + "\n" + logcat(), System.nanoTime() < end);
      shadowOf(Looper.getMainLooper()).idleFor(Duration.ofMillis(50));
      Thread.sleep(10);
    }
    shadowOf(Looper.getMainLooper()).idle();
  }

  /** The main screen with its models listed. */
  static ActivityController<MainActivity> main() throws Exception {
    final ActivityController<MainActivity> controller =
        Robolectric.buildActivity(MainActivity.class).setup();
    await("models are listed", 30, () -> models(controller.get()).getChildCount() > 0);
    return controller;
  }

  static ViewGroup models(Activity activity) {
    return activity.findViewById(R.id.models);
  }

  /** Runs a benchmark on the run screen to its end; returns the file of the result. */
  static File run(RunRequest request) throws Exception {
    ActivityController<RunActivity> controller = start(request.toIntent(app()));
    awaitEnd(controller);
    RunSession.Snapshot end = RunSession.of(session(controller.get()).id()).snapshot();
    assertTrue(end.failure + "\n" + logcat(), end.state == RunSession.State.DONE);
    controller.pause().stop().destroy();
    return end.result;
  }

  static ActivityController<RunActivity> start(Intent intent) {
    return Robolectric.buildActivity(RunActivity.class, intent).setup();
  }

  static void awaitEnd(ActivityController<RunActivity> controller) throws Exception {
    await("the run ends", 120, () -> RunSession.running() == null);
    await(
        "the screen notices",
        10,
        () -> controller.get().isFinishing() || isShown(controller.get(), R.id.message));
  }

  static RunSession session(RunActivity activity) throws Exception {
    java.lang.reflect.Field field = RunActivity.class.getDeclaredField("session");
    field.setAccessible(true);
    return (RunSession) field.get(activity);
  }

  /** A quick benchmark of a bundled model. */
  static RunRequest quick(String model, int runs) {
    return new RunRequest(
        model,
        BenchmarkSettings.builder().setRuns(runs).setWarmup(2).setProfile(true).build(),
        null,
        false);
  }

  /** The result screen with its result shown. */
  static ActivityController<ResultActivity> result(File file) throws Exception {
    ActivityController<ResultActivity> controller =
        Robolectric.buildActivity(ResultActivity.class, ResultActivity.intent(app(), file)).setup();
    await(
        "the result is shown",
        30,
        () -> isShown(controller.get(), R.id.result) || isShown(controller.get(), R.id.message));
    return controller;
  }

  static ActivityController<HistoryActivity> history() throws Exception {
    ActivityController<HistoryActivity> controller =
        Robolectric.buildActivity(HistoryActivity.class).setup();
    await(
        "the history is listed",
        30,
        () ->
            isShown(controller.get(), R.id.message)
                || ((android.widget.ListView) controller.get().findViewById(R.id.history))
                        .getCount()
                    > 0);
    return controller;
  }

  /** Presses a button of the dialog that is open. */
  static void press(int button) {
    ((android.app.AlertDialog) org.robolectric.shadows.ShadowDialog.getLatestDialog())
        .getButton(button)
        .performClick();
    shadowOf(Looper.getMainLooper()).idle();
  }

  static boolean isShown(Activity activity, int id) {
    return activity.findViewById(id).getVisibility() == View.VISIBLE;
  }

  static String text(Activity activity, int id) {
    return ((TextView) activity.findViewById(id)).getText().toString();
  }

  static String read(File file) throws Exception {
    return new String(Files.readAllBytes(file.toPath()), StandardCharsets.UTF_8);
  }

  static void write(File file, String text) throws Exception {
    Files.createDirectories(file.getParentFile().toPath());
    Files.write(file.toPath(), text.getBytes(StandardCharsets.UTF_8));
  }

  /** The app's lines in the log. */
  static String logcat() {
    StringBuilder lines = new StringBuilder();
    for (ShadowLog.LogItem item : ShadowLog.getLogsForTag(AndroidEnvironment.TAG)) {
      lines.append(item.msg).append('\n');
    }
    return lines.toString();
  }

  /**
   * Draws the window into a PNG in the folder that -Ddgms.screenshots.dir names, if it names one.
   */
  static void picture(Activity activity, String name) throws Exception {
    picture(activity.getWindow().getDecorView(), name);
  }

  static void picture(View view, String name) throws Exception {
    shadowOf(Looper.getMainLooper()).idle();
    assertTrue(name + " has no size", view.getWidth() > 0 && view.getHeight() > 0);
    view.jumpDrawablesToCurrentState(); // Or a check mark would be caught on its way.
    Bitmap bitmap = Bitmap.createBitmap(view.getWidth(), view.getHeight(), Bitmap.Config.ARGB_8888);
    view.draw(new Canvas(bitmap));
    assertTrue(name + " is all of one colour", isDrawn(bitmap));
    String folder = System.getProperty("dgms.screenshots.dir");
    if (folder != null) {
      Files.createDirectories(new File(folder).toPath());
      try (OutputStream out = new FileOutputStream(new File(folder, name + ".png"))) {
        bitmap.compress(Bitmap.CompressFormat.PNG, 100, out);
      }
    }
  }

  private static boolean isDrawn(Bitmap bitmap) {
    int first = bitmap.getPixel(0, 0);
    for (int y = 0; y < bitmap.getHeight(); y += 7) {
      for (int x = 0; x < bitmap.getWidth(); x += 7) {
        if (bitmap.getPixel(x, y) != first) {
          return true;
        }
      }
    }
    return false;
  }
}
