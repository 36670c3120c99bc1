package org.dgms.demo.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Typed reading of a JSON object's fields; errors name the place, such as {@code paths[1].median_ms}. */
final class JsonFields {
  private final Map<String, Object> fields;
  private final String place;

  JsonFields(Map<String, Object> fields, String place) {
    this.fields = fields;
    this.place = place;
  }

  /** Where a field stands in the file. */
  String place(String key) {
    return place.isEmpty() ? key : place + "." + key;
  }

  /** Whether a field is there and not null. */
  boolean has(String key) {
    return fields.get(key) != null;
  }

  /** The object's own map. */
  Map<String, Object> map() {
    return fields;
  }

  String text(String key) throws FormatException {
    return typed(key, String.class, "a string");
  }

  String textOrNull(String key) throws FormatException {
    return has(key) ? text(key) : null;
  }

  boolean flag(String key) throws FormatException {
    return typed(key, Boolean.class, "true or false");
  }

  Boolean flagOrNull(String key) throws FormatException {
    return has(key) ? flag(key) : null;
  }

  double number(String key) throws FormatException {
    return toNumber(fields.get(key), place(key));
  }

  Double numberOrNull(String key) throws FormatException {
    return has(key) ? number(key) : null;
  }

  long integer(String key) throws FormatException {
    return toInteger(fields.get(key), place(key));
  }

  Long integerOrNull(String key) throws FormatException {
    return has(key) ? integer(key) : null;
  }

  JsonFields object(String key) throws FormatException {
    return toObject(fields.get(key), place(key));
  }

  JsonFields objectOrNull(String key) throws FormatException {
    return has(key) ? object(key) : null;
  }

  /** The numbers of a list. */
  double[] numbers(String key) throws FormatException {
    List<?> list = list(key);
    double[] values = new double[list.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = toNumber(list.get(i), place(key) + "[" + i + "]");
    }
    return values;
  }

  /** The integers of a list, each from 0 to 2^31 - 1. */
  int[] sizes(String key) throws FormatException {
    List<?> list = list(key);
    int[] values = new int[list.size()];
    for (int i = 0; i < values.length; i++) {
      String at = place(key) + "[" + i + "]";
      long value = toInteger(list.get(i), at);
      if (value < 0 || value > Integer.MAX_VALUE) {
        throw wrong(at, "an integer from 0 to 2147483647", value);
      }
      values[i] = (int) value;
    }
    return values;
  }

  /** The strings of a list; none if the list is missing. */
  List<String> texts(String key) throws FormatException {
    List<String> values = new ArrayList<String>();
    if (has(key)) {
      for (Object value : list(key)) {
        if (!(value instanceof String)) {
          throw wrong(place(key) + "[" + values.size() + "]", "a string", value);
        }
        values.add((String) value);
      }
    }
    return values;
  }

  /** The objects of a list; none if the list is missing. */
  List<JsonFields> objects(String key) throws FormatException {
    List<JsonFields> values = new ArrayList<JsonFields>();
    if (has(key)) {
      for (Object value : list(key)) {
        values.add(toObject(value, place(key) + "[" + values.size() + "]"));
      }
    }
    return values;
  }

  private List<?> list(String key) throws FormatException {
    return typed(key, List.class, "a list");
  }

  private <T> T typed(String key, Class<T> type, String rule) throws FormatException {
    Object value = fields.get(key);
    if (!type.isInstance(value)) {
      throw wrong(place(key), rule, value);
    }
    return type.cast(value);
  }

  @SuppressWarnings("unchecked")
  private static JsonFields toObject(Object value, String place) throws FormatException {
    if (!(value instanceof Map)) {
      throw wrong(place, "an object", value);
    }
    return new JsonFields((Map<String, Object>) value, place);
  }

  private static double toNumber(Object value, String place) throws FormatException {
    if (!(value instanceof Number)) {
      throw wrong(place, "a number", value);
    }
    return ((Number) value).doubleValue();
  }

  private static long toInteger(Object value, String place) throws FormatException {
    double number = toNumber(value, place);
    long integer = ((Number) value).longValue();
    if (number != integer) {
      throw wrong(place, "an integer", value);
    }
    return integer;
  }

  private static FormatException wrong(String place, String rule, Object received) {
    return new FormatException(
        place + " must be " + rule + ". Received: " + (received == null ? "nothing" : received.toString()));
  }
}
