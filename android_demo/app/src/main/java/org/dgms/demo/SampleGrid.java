package org.dgms.demo;

import android.app.Activity;
import android.graphics.Bitmap;
import android.graphics.drawable.BitmapDrawable;
import android.view.View;
import android.widget.GridLayout;
import android.widget.ImageView;
import android.widget.TextView;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.dgms.demo.bench.Classification;

/** The sample images with what a path took them for. */
final class SampleGrid {
  private SampleGrid() {}

  /**
   * Fills the grid.
   *
   * @param labels names of the classes, possibly none
   * @param images thumbnails by file name; those that are missing are left out
   */
  static void show(
      Activity activity,
      List<Classification> samples,
      List<String> labels,
      Map<String, Bitmap> images) {
    GridLayout grid = activity.findViewById(R.id.samples);
    grid.removeAllViews();
    // Large letters need the whole width.
    int columns = activity.getResources().getConfiguration().fontScale > 1.3f ? 1 : 2;
    grid.setColumnCount(columns);
    Locale locale = activity.getResources().getConfiguration().getLocales().get(0);
    for (int i = 0; i < samples.size(); i++) {
      Classification sample = samples.get(i);
      View cell = activity.getLayoutInflater().inflate(R.layout.sample, grid, false);
      fill(activity, cell, sample, labels, images.get(sample.file()), locale);
      GridLayout.LayoutParams params =
          new GridLayout.LayoutParams(
              GridLayout.spec(i / columns), GridLayout.spec(i % columns, 1f));
      params.width = 0;
      grid.addView(cell, params);
    }
  }

  private static void fill(
      Activity activity,
      View cell,
      Classification sample,
      List<String> labels,
      Bitmap image,
      Locale locale) {
    ImageView picture = cell.findViewById(R.id.sample_image);
    if (image != null) {
      BitmapDrawable drawable = new BitmapDrawable(activity.getResources(), image);
      drawable.setFilterBitmap(false); // A few pixels, shown as they are.
      picture.setImageDrawable(drawable);
    } else {
      picture.setVisibility(View.GONE);
    }
    ImageView mark = cell.findViewById(R.id.sample_mark);
    if (sample.label() == null) {
      mark.setVisibility(View.GONE);
    } else {
      mark.setImageResource(sample.isRight() ? R.drawable.ic_check : R.drawable.ic_cross);
    }
    String predicted = name(activity, labels, sample.predicted());
    String probability = Formats.percent(sample.probability(), locale);
    boolean wrong = sample.label() != null && !sample.isRight();
    String note =
        wrong
            ? activity.getString(
                R.string.sample_truth, probability, name(activity, labels, sample.label()))
            : probability;
    ((TextView) cell.findViewById(R.id.sample_text))
        .setText(ModelText.titled(activity, predicted, note));
    cell.setContentDescription(
        activity.getString(
            sample.label() == null
                ? R.string.sample_unknown
                : wrong ? R.string.sample_wrong : R.string.sample_right,
            predicted,
            note));
  }

  private static String name(Activity activity, List<String> labels, int index) {
    return index < labels.size()
        ? labels.get(index)
        : activity.getString(R.string.sample_class, index);
  }
}
