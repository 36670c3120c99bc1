package org.dgms.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Paint;
import android.util.AttributeSet;
import android.util.TypedValue;

/** The median of each path as a bar from 0, with a thin line on to the 90th percentile; the shortest bar is the fastest path. */
public final class ComparisonBarsView extends ChartView {
  /** Made by the layout inflater. */
  public ComparisonBarsView(Context context, AttributeSet attributes) {
    super(context, attributes);
    text.setTextSize(
        TypedValue.applyDimension(TypedValue.COMPLEX_UNIT_SP, 14, getResources().getDisplayMetrics()));
    text.setColor(context.getColor(R.color.text_primary));
  }

  @Override
  protected void onMeasure(int widthSpec, int heightSpec) {
    int width = getDefaultSize(getSuggestedMinimumWidth(), widthSpec);
    int wanted = (int) (getPaddingTop() + getPaddingBottom() + series.size() * rowHeight());
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
    double high = 0;
    for (LatencySeries s : series) {
      high = Math.max(high, s.percentileMs(90));
    }
    float left = getPaddingLeft();
    float right = getWidth() - getPaddingRight();
    float y = getPaddingTop();
    for (LatencySeries s : series) {
      text.setTextAlign(Paint.Align.LEFT);
      drawMiddle(canvas, PathStyle.name(getContext(), s.kind), left, y + lineHeight() / 2);
      text.setTextAlign(Paint.Align.RIGHT);
      text.setFakeBoldText(true);
      drawMiddle(canvas, Formats.ms(s.medianMs(), locale()), right, y + lineHeight() / 2);
      text.setFakeBoldText(false);
      float barTop = y + lineHeight() + dp(3);
      float barBottom = barTop + dp(12);
      float middle = (barTop + barBottom) / 2;
      fill.setColor(grid.getColor());
      canvas.drawRoundRect(left, barTop, right, barBottom, dp(6), dp(6), fill);
      fill.setColor(PathStyle.color(getContext(), s.kind));
      float median = (float) (left + s.medianMs() / high * (right - left));
      float p90 = (float) (left + s.percentileMs(90) / high * (right - left));
      canvas.drawRoundRect(left, barTop, Math.max(median, left + dp(12)), barBottom, dp(6), dp(6), fill);
      canvas.drawRect(median, middle - dp(1), p90, middle + dp(1), fill);
      canvas.drawRect(p90 - dp(2), barTop + dp(2), p90, barBottom - dp(2), fill);
      y += rowHeight();
    }
    text.setTextAlign(Paint.Align.LEFT);
  }

  private float rowHeight() {
    return lineHeight() + dp(15 + 12);
  }
}
