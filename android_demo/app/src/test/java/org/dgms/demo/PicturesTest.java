package org.dgms.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import android.app.Activity;
import android.view.View;
import android.view.ViewGroup;
import android.widget.TextView;
import java.io.File;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;

/**
 * Every screen on phones upright and across, narrow, dark, with large letters, and on a tablet:
 * drawn, and nothing cut off.
 */
@RunWith(AppTestRunner.class)
@Config(sdk = 35)
public final class PicturesTest {
  private static final String[][] LOOKS = {
    {"light", "w400dp-h820dp-port-notnight-xhdpi", "1"},
    {"dark", "w400dp-h820dp-port-night-xhdpi", "1"},
    {"narrow_large_letters", "w320dp-h640dp-port-notnight-xhdpi", "1.6"},
    {"landscape", "w820dp-h400dp-land-notnight-xhdpi", "1"},
    {"tablet_dark", "w1000dp-h1400dp-port-night-mdpi", "1"},
  };

  @Before
  public void loadRuntime() throws Exception {
    Screens.loadRuntime();
  }

  @Test
  public void everyScreenInEveryLook() throws Exception {
    RuntimeEnvironment.setQualifiers(Screens.PHONE);
    File shapes = Screens.run(Screens.quick("shapes_w4", 200));
    assertRotates(shapes);
    Screens.run(Screens.quick("digits_w4", 20));
    for (String[] look : LOOKS) {
      RuntimeEnvironment.setQualifiers(look[1]);
      RuntimeEnvironment.setFontScale(Float.parseFloat(look[2]));
      check(Screens.main(), "main_" + look[0]);
      ActivityController<ResultActivity> result = Screens.result(shapes);
      assertTrue(
          Screens.text(result.get(), R.id.message_text),
          Screens.isShown(result.get(), R.id.result));
      scrollThrough(result.get(), "result_" + look[0]);
      check(result, "result_" + look[0]);
      check(Screens.history(), "history_" + look[0]);
    }
  }

  /** Pictures of the pages below the first one, where the screen is one column. */
  private static void scrollThrough(Activity activity, String name) throws Exception {
    View first = ((ViewGroup) activity.findViewById(R.id.result)).getChildAt(0);
    if (((ViewGroup) activity.findViewById(R.id.result)).getChildCount() > 1) {
      return;
    }
    int page = 1;
    while (first.canScrollVertically(1) && page < 12) {
      first.scrollBy(0, first.getHeight() - 40);
      page++;
      Screens.picture(activity, name + "_page" + page);
    }
    assertTrue(name + " has more than a page", page > 1);
    first.scrollTo(0, 0);
  }

  /** One column upright, two across: what the one saves must fit the other. */
  private static void assertRotates(File file) throws Exception {
    ActivityController<ResultActivity> controller = Screens.result(file);
    RuntimeEnvironment.setQualifiers("w820dp-h400dp-land-notnight-xhdpi");
    controller.recreate();
    Screens.await("the result is shown", 30, () -> Screens.isShown(controller.get(), R.id.result));
    controller.pause().stop().destroy();
  }

  private static void check(ActivityController<? extends Activity> controller, String name)
      throws Exception {
    Screens.picture(controller.get(), name);
    assertFits(controller.get().findViewById(R.id.root), name);
    controller.pause().stop().destroy();
  }

  /** No text is cut, and what can be touched is at least 48 dp high. */
  private static void assertFits(View view, String name) {
    if (view.getVisibility() != View.VISIBLE) {
      return;
    }
    float density = view.getResources().getDisplayMetrics().density;
    boolean selectable =
        view instanceof TextView
            && ((TextView) view).isTextSelectable(); // to be copied, not pressed
    if (view.isClickable() && !selectable && view.getHeight() > 0) {
      assertTrue(name + ": " + view + " must be 48 dp high", view.getHeight() >= 48 * density - 1);
    }
    if (view instanceof TextView && ((TextView) view).getLayout() != null) {
      TextView text = (TextView) view;
      for (int line = 0; line < text.getLayout().getLineCount(); line++) {
        assertEquals(name + ": cut: " + text.getText(), 0, text.getLayout().getEllipsisCount(line));
      }
    }
    if (view instanceof ViewGroup) {
      for (int i = 0; i < ((ViewGroup) view).getChildCount(); i++) {
        assertFits(((ViewGroup) view).getChildAt(i), name);
      }
    }
  }
}
