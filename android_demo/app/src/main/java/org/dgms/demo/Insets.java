package org.dgms.demo;

import android.os.Build;
import android.view.View;
import android.view.WindowInsets;

/**
 * Keeps content clear of the system bars, the cutout and the keyboard. From Android 15 on windows
 * are drawn edge to edge; the background goes under the bars, and what can be read or touched does
 * not.
 */
final class Insets {
  private Insets() {}

  /** Adds the insets of all four sides to the padding that {@code root} has in its layout. */
  static void apply(final View root) {
    final int left = root.getPaddingLeft();
    final int top = root.getPaddingTop();
    final int right = root.getPaddingRight();
    final int bottom = root.getPaddingBottom();
    root.setOnApplyWindowInsetsListener(
        new View.OnApplyWindowInsetsListener() {
          @Override
          public WindowInsets onApplyWindowInsets(View view, WindowInsets insets) {
            int[] sides = sides(insets);
            view.setPadding(left + sides[0], top + sides[1], right + sides[2], bottom + sides[3]);
            return insets;
          }
        });
    root.requestApplyInsets();
  }

  /** Left, top, right, bottom in pixels. */
  private static int[] sides(WindowInsets insets) {
    return Build.VERSION.SDK_INT >= Build.VERSION_CODES.R ? Api30.sides(insets) : oldSides(insets);
  }

  @SuppressWarnings("deprecation") // What there was before API 30.
  private static int[] oldSides(WindowInsets insets) {
    return new int[] {
      insets.getSystemWindowInsetLeft(),
      insets.getSystemWindowInsetTop(),
      insets.getSystemWindowInsetRight(),
      insets.getSystemWindowInsetBottom()
    };
  }

  /**
   * A class of its own: classes that are missing on old devices are looked up only when this one is
   * loaded.
   */
  @RequiresApi(30)
  private static final class Api30 {
    static int[] sides(WindowInsets insets) {
      android.graphics.Insets all =
          insets.getInsets(
              WindowInsets.Type.systemBars()
                  | WindowInsets.Type.displayCutout()
                  | WindowInsets.Type.ime());
      return new int[] {all.left, all.top, all.right, all.bottom};
    }
  }
}
