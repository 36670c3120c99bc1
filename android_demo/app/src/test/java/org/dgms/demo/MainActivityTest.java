package org.dgms.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.Intent;
import android.net.Uri;
import android.view.View;
import android.view.ViewGroup;
import android.view.WindowInsets;
import android.widget.CheckBox;
import android.widget.EditText;
import android.widget.RadioButton;
import android.widget.Spinner;
import android.widget.TextView;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.nio.file.Files;
import java.util.Arrays;
import org.dgms.demo.bench.PathKind;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.fakes.RoboMenuItem;
import org.robolectric.shadows.ShadowDialog;

/** The first screen: picking a model, settings that last, and what it starts. */
@RunWith(AppTestRunner.class)
@Config(sdk = 35)
public final class MainActivityTest {
  @Before
  public void loadRuntime() throws Exception {
    Screens.loadRuntime();
    RuntimeEnvironment.setQualifiers(Screens.PHONE);
  }

  @Test
  public void theBundledModelsAreThere() throws Exception {
    MainActivity activity = Screens.main().get();
    assertEquals(4, Screens.models(activity).getChildCount());
    assertTrue(row(activity, 0).isChecked());
    assertTrue(row(activity, 0).getText().toString().startsWith("Shapes, 4-bit weights\nfloat32"));
    assertTrue(activity.findViewById(R.id.run).isEnabled());
    assertTrue(facts(activity).contains("TensorFlow Lite 2.16.1"));
    assertTrue(facts(activity).contains("Delegate's kernels"));
    assertFalse(Screens.isShown(activity, R.id.models_problem));
    assertFalse(Screens.isShown(activity, R.id.delegate_missing));
  }

  @Test
  public void whatIsChosenIsWhatRuns() throws Exception {
    MainActivity activity = Screens.main().get();
    row(activity, 3).performClick();
    path(activity, PathKind.XNNPACK).performClick();
    ((Spinner) activity.findViewById(R.id.threads)).setSelection(1);
    ((Spinner) activity.findViewById(R.id.activations)).setSelection(1);
    type(activity, R.id.runs, "7");
    type(activity, R.id.min_seconds, "0,5");
    type(activity, R.id.warmup, "0");
    activity.findViewById(R.id.run).performClick();

    Intent intent = shadowOf(activity).getNextStartedActivity();
    assertEquals(RunActivity.class.getName(), intent.getComponent().getClassName());
    RunRequest request = RunRequest.fromIntent(intent);
    assertTrue(request.model, request.model.endsWith("digits_w4.tflite"));
    assertEquals(
        Arrays.asList(PathKind.DELEGATE, PathKind.DENSE_XNNPACK, PathKind.BUILTIN),
        request.settings.paths());
    assertEquals(2, request.settings.numThreads());
    assertEquals("dynamic_int8", request.settings.activations().id());
    assertEquals(7, request.settings.runs());
    assertEquals(0.5, request.settings.minSeconds(), 0);
    assertEquals(0, request.settings.warmup());
    assertFalse(request.finish);
  }

  @Test
  public void aWrongNumberIsToldAndNothingStarts() throws Exception {
    MainActivity activity = Screens.main().get();
    for (String wrong : new String[] {"0", "", "100001", "x", "-5"}) {
      type(activity, R.id.runs, wrong);
      activity.findViewById(R.id.run).performClick();
      assertEquals(
          "A number from 1 to 100000",
          ((EditText) activity.findViewById(R.id.runs)).getError().toString());
      assertNull(shadowOf(activity).getNextStartedActivity());
    }
    type(activity, R.id.runs, "5");
    activity.findViewById(R.id.run).performClick();
    assertNotNull(shadowOf(activity).getNextStartedActivity());
  }

  @Test
  public void withoutAPathNothingStarts() throws Exception {
    MainActivity activity = Screens.main().get();
    for (PathKind kind : PathKind.values()) {
      path(activity, kind).performClick();
    }
    activity.findViewById(R.id.run).performClick();
    assertNull(shadowOf(activity).getNextStartedActivity());
    assertTrue(ShadowDialog.getLatestDialog().isShowing());
  }

  @Test
  public void choicesOutliveRotationAndRestart() throws Exception {
    ActivityController<MainActivity> controller = Screens.main();
    row(controller.get(), 2).performClick();
    path(controller.get(), PathKind.BUILTIN).performClick();
    ((Spinner) controller.get().findViewById(R.id.threads)).setSelection(1);
    type(controller.get(), R.id.runs, "33");

    RuntimeEnvironment.setQualifiers("+land");
    controller.recreate();
    Screens.await(
        "models are listed", 30, () -> Screens.models(controller.get()).getChildCount() > 0);
    assertChosen(controller.get());
    controller.pause().stop().destroy();

    assertChosen(Screens.main().get());
  }

  private static void assertChosen(MainActivity activity) {
    assertTrue(row(activity, 2).isChecked());
    assertFalse(path(activity, PathKind.BUILTIN).isChecked());
    assertTrue(path(activity, PathKind.DELEGATE).isChecked());
    assertEquals(1, ((Spinner) activity.findViewById(R.id.threads)).getSelectedItemPosition());
    assertEquals("33", Screens.text(activity, R.id.runs));
  }

  @Test
  public void aFileThatIsOpenedIsCopiedAndChosen() throws Exception {
    ActivityController<MainActivity> controller = Screens.main();
    byte[] model =
        Files.readAllBytes(
            new File(Screens.app().getFilesDir(), "bundled/digits_w4.tflite").toPath());
    Uri document = Uri.parse("content://some.files/my%20net%2Fmy%20net.tflite");
    shadowOf(Screens.app().getContentResolver())
        .registerInputStream(document, new ByteArrayInputStream(model));
    controller.get().findViewById(R.id.open_file).performClick();
    Intent picker = shadowOf(controller.get()).getNextStartedActivity();
    assertEquals(Intent.ACTION_OPEN_DOCUMENT, picker.getAction());
    shadowOf(controller.get())
        .receiveResult(picker, Activity.RESULT_OK, new Intent().setData(document));
    Screens.await(
        "the model is listed", 30, () -> Screens.models(controller.get()).getChildCount() == 5);

    RadioButton opened = row(controller.get(), 4);
    assertTrue(opened.isChecked());
    assertTrue(
        opened.getText().toString(),
        opened.getText().toString().contains("opened from a file · no dense twin"));
    assertFalse(path(controller.get(), PathKind.DENSE_XNNPACK).isEnabled());
    File copy = new File(Screens.app().getFilesDir(), "opened/my_net.tflite");
    assertEquals(model.length, copy.length());
    assertFalse(new File(copy.getPath() + ".partial").exists());
  }

  @Test
  public void aFileThatCannotBeReadIsToldInWords() throws Exception {
    ActivityController<MainActivity> controller = Screens.main();
    Uri document = Uri.parse("content://some.files/net.tflite");
    shadowOf(Screens.app().getContentResolver())
        .registerInputStream(
            document,
            new java.io.InputStream() {
              @Override
              public int read() throws java.io.IOException {
                throw new java.io.IOException("write failed: ENOSPC (No space left on device)");
              }
            });
    controller.get().findViewById(R.id.open_file).performClick();
    Intent picker = shadowOf(controller.get()).getNextStartedActivity();
    shadowOf(controller.get())
        .receiveResult(picker, Activity.RESULT_OK, new Intent().setData(document));
    Screens.await("it is told", 30, () -> message().contains("The storage is full"));
    assertEquals(0, new File(Screens.app().getFilesDir(), "opened").list().length);
    assertEquals(4, Screens.models(controller.get()).getChildCount());
  }

  private static String message() {
    android.app.Dialog dialog = ShadowDialog.getLatestDialog();
    TextView text = dialog == null ? null : dialog.findViewById(android.R.id.message);
    return text == null ? "" : text.getText().toString();
  }

  @Test
  public void pushedModelsAndTheirTwinsAreFound() throws Exception {
    new ModelLibrary(Screens.app()).list();
    File bundled = new File(Screens.app().getFilesDir(), "bundled");
    File pushed = Screens.app().getExternalFilesDir("models");
    Files.createDirectories(pushed.toPath());
    Files.copy(
        new File(bundled, "shapes_w4.tflite").toPath(), new File(pushed, "mine.tflite").toPath());
    Files.copy(
        new File(bundled, "shapes_float.tflite").toPath(),
        new File(pushed, "mine.dense.tflite").toPath());
    MainActivity activity = Screens.main().get();
    assertEquals(5, Screens.models(activity).getChildCount());
    row(activity, 4).performClick();
    assertTrue(row(activity, 4).getText().toString().startsWith("mine\n"));
    assertTrue(row(activity, 4).getText().toString().contains("pushed over adb"));
    assertTrue(path(activity, PathKind.DENSE_XNNPACK).isEnabled());
  }

  @Test
  public void aDamagedListOfModelsHidesNoOthers() throws Exception {
    Screens.write(
        new File(Screens.app().getExternalFilesDir("models"), "models.json"), "{\"schema\": ");
    MainActivity activity = Screens.main().get();
    assertEquals(4, Screens.models(activity).getChildCount());
    assertTrue(Screens.isShown(activity, R.id.models_problem));
    assertTrue(Screens.text(activity, R.id.models_problem).startsWith("The models in "));
  }

  @Test
  public void nothingLiesUnderTheSystemBars() throws Exception {
    MainActivity activity = Screens.main().get();
    View root = activity.findViewById(R.id.root);
    WindowInsets insets =
        new WindowInsets.Builder()
            .setInsets(WindowInsets.Type.systemBars(), android.graphics.Insets.of(0, 63, 0, 126))
            .setInsets(WindowInsets.Type.displayCutout(), android.graphics.Insets.of(80, 0, 0, 0))
            .build();
    for (int twice = 0; twice < 2; twice++) { // They are set, not added up.
      root.dispatchApplyWindowInsets(insets);
      assertEquals(80, root.getPaddingLeft());
      assertEquals(63, root.getPaddingTop());
      assertEquals(126, root.getPaddingBottom());
    }
  }

  @Test
  public void theHistoryIsOneTouchAway() throws Exception {
    MainActivity activity = Screens.main().get();
    activity.onOptionsItemSelected(new RoboMenuItem(R.id.history));
    Intent next = shadowOf(activity).getNextStartedActivity();
    assertEquals(HistoryActivity.class.getName(), next.getComponent().getClassName());
  }

  private static RadioButton row(Activity activity, int index) {
    return (RadioButton) Screens.models(activity).getChildAt(index);
  }

  private static CheckBox path(Activity activity, PathKind kind) {
    return activity.findViewById(R.id.paths).findViewWithTag(kind);
  }

  private static void type(Activity activity, int id, String words) {
    ((EditText) activity.findViewById(id)).setText(words);
  }

  private static String facts(Activity activity) {
    StringBuilder words = new StringBuilder();
    ViewGroup list = activity.findViewById(R.id.device);
    for (int i = 0; i < list.getChildCount(); i++) {
      View row = list.getChildAt(i);
      words.append(((TextView) row.findViewById(R.id.fact_name)).getText()).append(": ");
      words.append(((TextView) row.findViewById(R.id.fact_value)).getText()).append('\n');
    }
    return words.toString();
  }
}
