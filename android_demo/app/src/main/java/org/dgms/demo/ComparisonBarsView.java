package org.dgms.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.util.AttributeSet;
import android.util.TypedValue;

/**
 * The median of each path as a bar from 0, with a thin line on to the 90th percentile; the shortest
 * bar is the fastest path. The scale ends at half as much again as the slowest median: a line that
 * has no end there goes on.
 */
public final class ComparisonBarsView extends ChartView {
  /** Made by the layout inflater. */
  public ComparisonBarsView(Context context, AttributeSet attributes) {
    super(context, attributes);
    text.setTextSize(
        TypedValue.applyDimension(
            TypedValue.COMPLEX_UNIT_SP, 14, getResources().getDisplayMetrics()));
    text.setColor(context.getColor(R.color.text_primary));
  }

  @Override
  protected void onMeasure(int widthSpec, int heightSpec) {
    int width = getDefaultSize(getSuggestedMinimumWidth(), widthSpec);
    int wanted = (int) (getPaddingTop() + getPaddingBottom() + series.size() * rowHeight(width));
    setMeasuredDimension(width, resolveSize(wanted, heightSpec));
  }

  @Override
  protected String describe() {
    StringBuilder words = new StringBuilder();
    for (LatencySeries s : series) {
      words.append(
          getContext()
              .getString(
                  R.string.chart_bars_path,
                  PathStyle.name(getContext(), s.kind),
                  Formats.ms(s.medianMs(), locale()),
                  Formats.ms(s.percentileMs(90), locale())));
    }
    return getContext().getString(R.string.chart_bars_summary, words);
  }

  @Override
  protected void onDraw(Canvas canvas) {
    double slowest = 0;
    double high = 0;
    for (LatencySeries s : series) {
      slowest = Math.max(slowest, s.medianMs());
      high = Math.max(high, s.percentileMs(90));
    }
    high = Math.min(high, 1.5 * slowest);
    float left = getPaddingLeft();
    float right = getWidth() - getPaddingRight();
    float y = getPaddingTop();
    for (LatencySeries s : series) {
      text.setTextAlign(Paint.Align.LEFT);
      drawMiddle(canvas, PathStyle.name(getContext(), s.kind), left, y + lineHeight() / 2);
      text.setTextAlign(Paint.Align.RIGHT);
      text.setFakeBoldText(true);
      float words = twoLines(getWidth()) ? 2 * lineHeight() : lineHeight();
      drawMiddle(canvas, Formats.ms(s.medianMs(), locale()), right, y + words - lineHeight() / 2);
      text.setFakeBoldText(false);
      float barTop = y + words + dp(3);
      float barBottom = barTop + dp(12);
      float middle = (barTop + barBottom) / 2;
      fill.setColor(grid.getColor());
      canvas.drawRoundRect(left, barTop, right, barBottom, dp(6), dp(6), fill);
      fill.setColor(PathStyle.color(getContext(), s.kind));
      float median = (float) (left + s.medianMs() / high * (right - left));
      boolean beyond = s.percentileMs(90) > high;
      float p90 = beyond ? right : (float) (left + s.percentileMs(90) / high * (right - left));
      canvas.drawRoundRect(
          left, barTop, Math.max(median, left + dp(12)), barBottom, dp(6), dp(6), fill);
      canvas.drawRect(median, middle - dp(1), p90, middle + dp(1), fill);
      if (!beyond) {
        canvas.drawRect(p90 - dp(2), barTop + dp(2), p90, barBottom - dp(2), fill);
      }
      y += rowHeight(getWidth());
    }
    text.setTextAlign(Paint.Align.LEFT);
  }

  private float rowHeight(int width) {
    return (twoLines(width) ? 2 : 1) * lineHeight() + dp(15 + 12);
  }

  /**
   * Whether a name and its figure find no room side by side, as with large letters on a narrow
   * screen.
   */
  private boolean twoLines(int width) {
    for (LatencySeries s : series) {
      String words = PathStyle.name(getContext(), s.kind) + Formats.ms(s.medianMs(), locale());
      // A fifth more for the space between them and the bold figure.
      if (1.2f * text.measureText(words) > width - getPaddingLeft() - getPaddingRight()) {
        return true;
      }
    }
    return false;
  }
}
