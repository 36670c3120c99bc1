package org.dgms.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import android.widget.CheckBox;
import java.io.File;
import org.dgms.demo.bench.BenchmarkResult;
import org.dgms.demo.bench.PathKind;
import org.dgms.demo.bench.ResultStore;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;

/**
 * Run by {@link NoDelegateTest} in a JVM without the delegate's library; its name hides it from the
 * usual search for tests.
 */
@RunWith(AppTestRunner.class)
@Config(sdk = 35)
public final class NoDelegateScreens {
  /** The other paths run, and everybody is told. */
  @Test
  public void theAppSaysSoAndTheOtherPathsRun() throws Exception {
    Screens.loadRuntime();
    RuntimeEnvironment.setQualifiers(Screens.PHONE);
    ActivityController<MainActivity> main = Screens.main();
    assertTrue(Screens.isShown(main.get(), R.id.delegate_missing));
    String notice = Screens.text(main.get(), R.id.delegate_missing);
    assertTrue(notice, notice.contains("no dgms_delegate in java.library.path"));
    CheckBox delegate = main.get().findViewById(R.id.paths).findViewWithTag(PathKind.DELEGATE);
    assertFalse(delegate.isEnabled() || delegate.isChecked());
    assertTrue(main.get().findViewById(R.id.run).isEnabled());

    // A script may ask for it all the same.
    File file = Screens.run(Screens.quick("shapes_w4", 12));
    BenchmarkResult result = ResultStore.read(file);
    assertFalse(result.path(PathKind.DELEGATE).succeeded());
    assertEquals(12, result.path(PathKind.XNNPACK).runsMs().length);
    assertEquals(12, result.path(PathKind.BUILTIN).runsMs().length);
    assertTrue(Screens.logcat(), Screens.logcat().contains(" delegate=failed xnnpack="));
    ActivityController<ResultActivity> shown = Screens.result(file);
    String headline = Screens.text(shown.get(), R.id.result_headline);
    assertTrue(headline, headline.startsWith("The delegate could not run; the fastest path is "));
    String errors = Screens.text(shown.get(), R.id.result_errors);
    assertTrue(errors, errors.startsWith("DGMS delegate could not run: "));
    Screens.picture(shown.get(), "result_no_delegate");
  }
}
