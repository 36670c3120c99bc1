package org.dgms.demo;

import android.content.Context;
import android.text.format.DateFormat;
import java.text.ParseException;
import java.text.SimpleDateFormat;
import java.util.Date;
import java.util.Locale;
import java.util.TimeZone;

/** Numbers, sizes and dates as people read them. */
final class Formats {
  private static final String NONE = "–";

  /** No line ends between a figure and its unit. */
  private static final String NBSP = "\u00a0";

  private Formats() {}

  /** Milliseconds with three significant digits or more, such as "0.712 ms". */
  static String ms(double ms, Locale locale) {
    return number(ms, locale) + NBSP + "ms";
  }

  /** A time or another positive figure: three decimals below 1, two below 100, one above. */
  static String number(double value, Locale locale) {
    double size = Math.abs(value);
    String format = size < 1 ? "%.3f" : size < 100 ? "%.2f" : "%.1f";
    return String.format(locale, format, value);
  }

  /** The same, or a dash for null. */
  static String number(Double value, Locale locale) {
    return value == null ? NONE : number(value.doubleValue(), locale);
  }

  /** Seconds, one decimal below 100. */
  static String seconds(double seconds, Locale locale) {
    return String.format(locale, seconds < 100 ? "%.1f" : "%.0f", seconds) + NBSP + "s";
  }

  /** A difference of outputs, such as "0", "0.012" or "1.2e-06"; a dash for null. */
  static String difference(Double value, Locale locale) {
    if (value == null) {
      return NONE;
    }
    if (value == 0) {
      return "0";
    }
    return value >= 0.001
        ? number(value.doubleValue(), locale)
        : String.format(locale, "%.1e", value);
  }

  /** A share as percent; a dash for null. */
  static String percent(Double share, Locale locale) {
    if (share == null) {
      return NONE;
    }
    // No "100 %" for anything less than all.
    double percent = share < 1 ? Math.min(100 * share, 99.9) : 100;
    return String.format(locale, percent == Math.rint(percent) ? "%.0f" : "%.1f", percent)
        + NBSP
        + "%";
  }

  /** A change in percent with its sign, such as "+3.1 %". */
  static String change(double share, Locale locale) {
    return String.format(locale, "%+.1f", 100 * share).replace('-', '\u2212') + NBSP + "%";
  }

  /** A ratio of times, such as "0.71"; below 1, what is above the line is faster. */
  static String ratio(double ratio, Locale locale) {
    return String.format(locale, ratio < 10 ? "%.2f" : "%.1f", ratio);
  }

  /** Bytes in units of 1024, such as "96 KiB"; a dash for null. */
  static String bytes(Long bytes, Locale locale) {
    if (bytes == null) {
      return NONE;
    }
    double size = bytes;
    String[] units = {"B", "KiB", "MiB", "GiB"};
    int unit = 0;
    while (Math.abs(size) >= 1024 && unit < units.length - 1) {
      size /= 1024;
      unit++;
    }
    return String.format(locale, unit == 0 || Math.abs(size) >= 100 ? "%.0f" : "%.1f", size)
        + NBSP
        + units[unit];
  }

  /** An ISO 8601 time in UTC as the reader's own date and time; the text itself if it is none. */
  static String date(Context context, String iso) {
    SimpleDateFormat parser = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss", Locale.US);
    parser.setTimeZone(TimeZone.getTimeZone("UTC"));
    try {
      Date date = parser.parse(iso);
      return DateFormat.getMediumDateFormat(context).format(date)
          + ", "
          + DateFormat.getTimeFormat(context).format(date);
    } catch (ParseException e) {
      return iso;
    }
  }
}
