package org.dgms.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNotSame;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertSame;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.content.DialogInterface;
import android.content.Intent;
import android.view.WindowManager;
import java.io.File;
import java.lang.ref.WeakReference;
import java.nio.file.Files;
import java.util.Arrays;
import org.dgms.demo.bench.BenchmarkResult;
import org.dgms.demo.bench.BenchmarkSettings;
import org.dgms.demo.bench.PathKind;
import org.dgms.demo.bench.ResultStore;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.shadows.ShadowDialog;

/** Running: to the end, through rotation, cancelled, automated, and with what cannot run. */
@RunWith(AppTestRunner.class)
@Config(sdk = 35)
public final class RunActivityTest {
  @Before
  public void loadRuntime() throws Exception {
    Screens.loadRuntime();
    RuntimeEnvironment.setQualifiers(Screens.PHONE);
  }

  @After
  public void stopWhatRuns() throws Exception {
    RunSession left = RunSession.running();
    if (left != null) {
      left.cancel();
      Screens.await("what was left running stops", 30, () -> RunSession.running() == null);
    }
  }

  /** Long enough to look at while it runs. */
  private static RunRequest slow() {
    return new RunRequest(
        "shapes_w4",
        BenchmarkSettings.builder().setRuns(40).setMinSeconds(60).setWarmup(1).build(),
        null,
        false);
  }

  private static ActivityController<RunActivity> startSlow(int rounds) throws Exception {
    ActivityController<RunActivity> controller = Screens.start(slow().toIntent(Screens.app()));
    RunSession session = Screens.session(controller.get());
    Screens.await("rounds are timed", 60, () -> session.snapshot().done >= rounds);
    return controller;
  }

  @Test
  public void aRunEndsInItsResult() throws Exception {
    RunRequest request = Screens.quick("digits_w4", 12);
    ActivityController<RunActivity> controller = Screens.start(request.toIntent(Screens.app()));
    Screens.awaitEnd(controller);

    Intent next = shadowOf(controller.get()).getNextStartedActivity();
    assertEquals(ResultActivity.class.getName(), next.getComponent().getClassName());
    BenchmarkResult result = ResultStore.read(Screens.session(controller.get()).snapshot().result);
    assertEquals("digits_w4", result.model().name());
    assertEquals(4, result.paths().size());
    for (PathKind kind : PathKind.values()) {
      assertNull(kind + ": " + result.path(kind).error(), result.path(kind).error());
      assertEquals(12, result.path(kind).runsMs().length);
    }
    assertTrue(result.path(PathKind.DELEGATE).claim().operators() > 0);
    assertFalse(result.path(PathKind.DELEGATE).counters().isEmpty());
    assertEquals("phone", result.machine().kind());
  }

  @Test
  public void theScreenShowsHowFarItIs() throws Exception {
    ActivityController<RunActivity> controller = startSlow(60);
    Screens.await(
        "the screen follows",
        10,
        () -> Screens.text(controller.get(), R.id.run_round).startsWith("Round"));
    int keepOn = WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON;
    assertEquals(keepOn, controller.get().getWindow().getAttributes().flags & keepOn);
    String words = controller.get().findViewById(R.id.run_chart).getContentDescription().toString();
    assertTrue(words, words.contains("DGMS delegate: ") && words.contains("median"));
    Screens.picture(controller.get(), "run_light");
    RuntimeEnvironment.setQualifiers("w400dp-h820dp-port-night-xhdpi");
    controller.recreate();
    Screens.picture(controller.get(), "run_dark");
    RuntimeEnvironment.setQualifiers("w820dp-h400dp-land-notnight-xhdpi");
    controller.recreate();
    Screens.picture(controller.get(), "run_landscape");
    RuntimeEnvironment.setQualifiers("w320dp-h640dp-port-notnight-xhdpi");
    RuntimeEnvironment.setFontScale(1.6f);
    controller.recreate();
    Screens.picture(controller.get(), "run_narrow_large_letters");
  }

  @Test
  public void rotationInTheMiddleOfARunChangesNothing() throws Exception {
    ActivityController<RunActivity> controller = startSlow(3);
    WeakReference<RunActivity> old = new WeakReference<RunActivity>(controller.get());
    RunSession session = Screens.session(controller.get());
    int before = session.snapshot().done;

    RuntimeEnvironment.setQualifiers("+land");
    controller.recreate();

    assertNotSame(old.get(), controller.get());
    assertSame("the run goes on", session, Screens.session(controller.get()));
    assertSame("no second one", session, RunSession.running());
    Screens.await("more rounds are timed", 30, () -> session.snapshot().done > before);
    Screens.await(
        "the new screen shows them",
        10,
        () -> Screens.text(controller.get(), R.id.run_round).startsWith("Round"));
    assertNotReachableFromRun(old.get());

    controller.get().findViewById(R.id.cancel).performClick();
    Screens.await("it stops", 30, () -> RunSession.running() == null);
  }

  /** Nothing that outlives the activity may hold it: neither the session nor its thread. */
  private static void assertNotReachableFromRun(RunActivity old) throws Exception {
    assertTrue("the old screen is gone", old.isDestroyed());
    java.lang.reflect.Field handler = RunActivity.class.getDeclaredField("handler");
    handler.setAccessible(true);
    java.lang.reflect.Field refresh = RunActivity.class.getDeclaredField("refresh");
    refresh.setAccessible(true);
    assertFalse(
        "its refreshing has stopped",
        ((android.os.Handler) handler.get(old)).hasCallbacks((Runnable) refresh.get(old)));
    for (java.lang.reflect.Field field : RunSession.class.getDeclaredFields()) {
      assertFalse(field.getName(), android.app.Activity.class.isAssignableFrom(field.getType()));
    }
    java.lang.reflect.Field context = RunSession.class.getDeclaredField("context");
    context.setAccessible(true);
    assertSame(Screens.app(), context.get(RunSession.running()));
  }

  @Test
  public void cancellingKeepsNothing() throws Exception {
    ActivityController<RunActivity> controller = startSlow(2);
    controller.get().findViewById(R.id.cancel).performClick();
    Screens.awaitEnd(controller);
    assertTrue(controller.get().isFinishing());
    assertNull(shadowOf(controller.get()).getNextStartedActivity());
    assertEquals(0, Results.store(Screens.app()).list().size());
    assertTrue(Screens.logcat(), Screens.logcat().contains("FAILED reason=cancelled"));
  }

  @Test
  @SuppressWarnings("deprecation")
  public void backAsksFirst() throws Exception {
    ActivityController<RunActivity> controller = startSlow(2);
    controller.get().onBackPressed();
    assertTrue(ShadowDialog.getLatestDialog().isShowing());
    Screens.press(DialogInterface.BUTTON_NEGATIVE);
    assertNotNull("it goes on", RunSession.running());
    controller.get().onBackPressed();
    Screens.press(DialogInterface.BUTTON_POSITIVE);
    Screens.awaitEnd(controller);
    assertTrue(controller.get().isFinishing());
  }

  @Test
  public void aScriptGetsOneLineAndAFile() throws Exception {
    Intent intent =
        new Intent(Screens.app(), RunActivity.class)
            .putExtra("model", "shapes_w2")
            .putExtra("runs", 10)
            .putExtra("warmup", 1)
            .putExtra("threads", 2)
            .putExtra("paths", "delegate,xnnpack,builtin")
            .putExtra("affinity", "all")
            .putExtra("min_seconds", 0f)
            .putExtra("activations", "float32")
            .putExtra("sustained", false)
            .putExtra("cool_down", 0)
            .putExtra("profile", false)
            .putExtra("output", "from_script.json")
            .putExtra("finish", true);
    ActivityController<RunActivity> controller = Screens.start(intent);
    Screens.awaitEnd(controller);

    assertTrue(controller.get().isFinishing());
    assertNull("no result screen", shadowOf(controller.get()).getNextStartedActivity());
    File file = new File(Screens.app().getExternalFilesDir("results"), "from_script.json");
    BenchmarkResult result = ResultStore.read(file);
    assertEquals(2, result.settings().numThreads());
    assertEquals(
        Arrays.asList(PathKind.DELEGATE, PathKind.XNNPACK, PathKind.BUILTIN),
        Arrays.asList(
            result.paths().get(0).kind(),
            result.paths().get(1).kind(),
            result.paths().get(2).kind()));
    String last = lastLine();
    assertTrue(
        last,
        last.matches(
            "DONE file=\\Q"
                + file
                + "\\E model=shapes_w2 delegate=[0-9.]+ ms xnnpack=[0-9.]+ ms builtin=[0-9.]+ ms"
                + " ratio=[0-9.]+ to=xnnpack"));
  }

  @Test
  public void aSecondStartWhileOneRunsIsRefused() throws Exception {
    ActivityController<RunActivity> controller = startSlow(2);
    RunSession session = RunSession.running();
    controller.newIntent(Screens.quick("shapes_w2", 5).toIntent(Screens.app()));
    assertSame(session, RunSession.running());
    assertTrue(lastLine(), lastLine().startsWith("FAILED reason=Another benchmark is running"));
  }

  @Test
  public void aStartAfterAFailureRuns() throws Exception {
    ActivityController<RunActivity> controller =
        Screens.start(Screens.quick("nothing", 5).toIntent(Screens.app()));
    Screens.awaitEnd(controller);
    assertTrue(Screens.isShown(controller.get(), R.id.message));
    controller.newIntent(Screens.quick("digits_w4", 5).toIntent(Screens.app()));
    assertFalse(Screens.isShown(controller.get(), R.id.message));
    Screens.awaitEnd(controller);
    assertTrue(controller.get().isFinishing());
    assertTrue(lastLine(), lastLine().startsWith("DONE file="));
  }

  @Test
  public void aWrongExtraSaysWhatIsRight() throws Exception {
    Object[][] wrong = {
      {"runs", "50", "the extra runs is given by --ei"},
      {"runs", 0, "runs must be from 1 to 100000. Received: 0"},
      {"thread", 2, "Received: thread"},
      {"paths", "delegate,gpu", "a path must be"},
      {"output", "../x.json", "the extra output must be a file name"},
    };
    for (Object[] each : wrong) {
      Intent intent = new Intent(Screens.app(), RunActivity.class).putExtra("model", "shapes_w2");
      if (each[1] instanceof Integer) {
        intent.putExtra((String) each[0], (int) each[1]);
      } else {
        intent.putExtra((String) each[0], (String) each[1]);
      }
      ActivityController<RunActivity> controller = Screens.start(intent);
      assertNull(RunSession.running());
      assertTrue(
          lastLine(),
          lastLine().startsWith("FAILED reason=") && lastLine().contains((String) each[2]));
      assertTrue(Screens.isShown(controller.get(), R.id.message));
      controller.recreate();
      String text = Screens.text(controller.get(), R.id.message_text);
      assertTrue("after rotation too: " + text, text.contains((String) each[2]));
      controller.pause().stop().destroy();
    }
  }

  @Test
  public void aBrokenModelIsExplained() throws Exception {
    File folder = Screens.app().getExternalFilesDir("models");
    Screens.write(new File(folder, "broken.tflite"), "TFL3 this is no model");
    ActivityController<RunActivity> controller =
        Screens.start(Screens.quick("broken", 5).toIntent(Screens.app()));
    Screens.awaitEnd(controller);
    assertTrue(Screens.isShown(controller.get(), R.id.message));
    String text = Screens.text(controller.get(), R.id.message_text);
    assertTrue(text, text.contains("damaged, cut short, or no .tflite model"));
    assertTrue(lastLine(), lastLine().startsWith("FAILED reason="));
    assertEquals(0, Results.store(Screens.app()).list().size());
    Screens.picture(controller.get(), "run_broken_model");
  }

  @Test
  public void aModelCutShortIsExplained() throws Exception {
    new ModelLibrary(Screens.app()).list(); // unpacks
    byte[] whole =
        Files.readAllBytes(
            new File(Screens.app().getFilesDir(), "bundled/shapes_w4.tflite").toPath());
    File folder = Screens.app().getExternalFilesDir("models");
    Files.createDirectories(folder.toPath());
    Files.write(new File(folder, "short.tflite").toPath(), Arrays.copyOf(whole, whole.length / 2));
    ActivityController<RunActivity> controller =
        Screens.start(Screens.quick("short", 5).toIntent(Screens.app()));
    Screens.awaitEnd(controller);
    String text = Screens.text(controller.get(), R.id.message_text);
    assertTrue(text, text.contains("damaged, cut short, or no .tflite model"));
  }

  @Test
  public void anUnknownModelNamesTheKnownOnes() throws Exception {
    ActivityController<RunActivity> controller =
        Screens.start(Screens.quick("nothing", 5).toIntent(Screens.app()));
    Screens.awaitEnd(controller);
    String text = Screens.text(controller.get(), R.id.message_text);
    assertTrue(text, text.contains("There is no model nothing") && text.contains("shapes_w4"));
  }

  private static String lastLine() {
    String[] lines = Screens.logcat().split("\n");
    return lines[lines.length - 1];
  }
}
