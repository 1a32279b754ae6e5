"""The numba kernels of what foresees: Holt-Winters as graphite-web has it, and with all that it needs fitted.

Matrices are float64 (series, points) with NaN for "no data". Each kernel has a plain twin in
tests/render/functions.
"""

from __future__ import annotations

import numpy as np

from storage.compiled import njit

# What graphite-web smooths with.
_LEVEL, _TREND, _SEASON = 0.1, 0.0035, 0.1
_BETTER = 0.995  # by how much a later try must be better, so that chance does not choose


@njit(nogil=True, cache=True)
def holt_winters(values, season, ahead, predictions, deviations):  # type: ignore[no-untyped-def]
    """What graphite-web expects of each point after those before it, and how far off it has been a season ago.

    `season` (2 or more) is in points. A missing value makes level, trend and season begin anew, as there; what
    follows it is not expected to be anything. With `ahead`, all after a row's last value is expected to go on.
    """
    rows, points = values.shape
    seasonal = np.empty(points)
    for r in range(rows):
        last = points - 1
        while ahead and last >= 0 and values[r, last] != values[r, last]:
            last -= 1
        level, trend, expected = np.nan, 0.0, np.nan
        for i in range(last + 1 if ahead else points):
            v = values[r, i]
            predictions[r, i] = expected
            if v != v:
                level, trend, expected = np.nan, 0.0, np.nan
                seasonal[i], deviations[r, i] = 0.0, 0.0
                continue
            if i == 0:
                predictions[r, i] = expected = v
            before = v if level != level else level
            season_now = seasonal[i - season] if i >= season else 0.0
            season_next = seasonal[i + 1 - season] if i + 1 >= season else 0.0
            off = deviations[r, i - season] if i >= season else 0.0
            level = _LEVEL * (v - season_now) + (1 - _LEVEL) * (before + trend)
            trend = _TREND * (level - before) + (1 - _TREND) * trend
            seasonal[i] = _SEASON * (v - level) + (1 - _SEASON) * season_now
            error = abs(v - expected) if expected == expected else abs(v)
            deviations[r, i] = _SEASON * error + (1 - _SEASON) * off
            expected = level + trend + season_next
        for i in range(last + 1, points if ahead else 0):
            seasonal[i] = seasonal[i - season] if i >= season else 0.0
            deviations[r, i] = deviations[r, i - season] if i >= season else 0.0
            predictions[r, i] = level + (i - last) * trend + seasonal[i]


@njit(nogil=True, cache=True)
def seasonal_forecast(values, season, smoothings, predictions, deviations, freedom):  # type: ignore[no-untyped-def]
    """Each point as additive Holt-Winters expects it after all known ones before it, and by how much it may be off.

    predictions and deviations (series, points) come as NaN and stay so where a row is known for too short.
    deviations are standard deviations, which grow with the points since the last known one; freedom (series,)
    are their degrees. Of `smoothings` (tries, 3: alpha, beta, gamma; NaN = the best so far) the one is taken that
    would have foreseen best. Level, trend and season begin as least squares have them over the whole row; errors
    follow one another with their autocorrelation. NaN at times of the season without any value.
    """
    rows, points = values.shape
    first, current = np.empty(season), np.empty(season)
    start, wide = np.empty(6), np.empty(points + 1)
    chosen = np.zeros(3)
    for r in range(rows):
        row, expected, spread = values[r], predictions[r], deviations[r]
        if not _begin(row, season, first, start):
            continue
        known, phases, centre, apart = start[2], start[3], start[4], start[5]
        least, phi = np.inf, 0.0
        for n in range(len(smoothings) + 1):
            last = n == len(smoothings)  # once more with what was chosen
            alpha, beta, gamma = chosen[0], chosen[1], chosen[2]
            if not last:
                alpha = smoothings[n, 0] if smoothings[n, 0] == smoothings[n, 0] else alpha
                beta = smoothings[n, 1] if smoothings[n, 1] == smoothings[n, 1] else beta
                gamma = smoothings[n, 2] if smoothings[n, 2] == smoothings[n, 2] else gamma
            for p in range(season):
                current[p] = first[p]
            carry = phi if last else 0.0
            squares, shared = _follow(row, season, start, alpha, beta, gamma, carry, current, expected)
            if not last and squares < _BETTER * least:
                least, phi = squares, shared
                chosen[0], chosen[1], chosen[2] = alpha, beta, gamma
        freedom[r] = max(known - phases - 2.0, 1.0)
        _widths(season, chosen[0], chosen[1], chosen[2], phi, wide)
        variance = least * known / freedom[r]
        _spread(row, variance, phi, chosen[0], phases / known, centre, apart, wide, expected, spread)


@njit(nogil=True, cache=True)
def _begin(row, season, seasonal, start):  # type: ignore[no-untyped-def]
    """Least squares of a line and a value for each point of the season; False if too little is known.

    start: level and trend just before the row, known values, points of the season seen, the mean of their
    places, and the sum of squares of places about those of their point of the season.
    """
    count, place, value = np.zeros(season), np.zeros(season), np.zeros(season)
    first, last, total, known, phases = -1, -1, 0.0, 0.0, 0.0
    for i in range(len(row)):
        if row[i] == row[i]:
            p = i % season
            count[p] += 1.0
            place[p] += (i - place[p]) / count[p]
            value[p] += (row[i] - value[p]) / count[p]
            first = i if first < 0 else first
            last = i
            total += i
            known += 1.0
    for p in range(season):
        phases += count[p] > 0.0
    if known < 1.5 * phases + 3.0 or last - first < 1.5 * season:
        return False
    apart, along = 0.0, 0.0
    for i in range(len(row)):
        if row[i] == row[i]:
            p = i % season
            apart += (i - place[p]) ** 2
            along += (i - place[p]) * (row[i] - value[p])
    trend, level = along / apart, 0.0
    for p in range(season):
        seasonal[p] = value[p] - trend * place[p] if count[p] > 0.0 else np.nan
        level += seasonal[p] / phases if count[p] > 0.0 else 0.0
    for p in range(season):
        seasonal[p] -= level
    start[0], start[1], start[2] = level - trend, trend, known
    start[3], start[4], start[5] = phases, total / known, apart
    return True


@njit(nogil=True, cache=True)
def _follow(row, season, start, alpha, beta, gamma, phi, seasonal, expected):  # type: ignore[no-untyped-def]
    """Fill `expected`; gives the mean square of what was new in the errors, and their autocorrelation.

    An error raises or lowers level, trend and season by the classical parameters; `phi` of it is expected again.
    """
    level, trend = start[0], start[1]
    to_trend, to_season = alpha * beta, gamma * (1.0 - alpha)
    error, carried = 0.0, 0.0
    before, both, after, pairs = 0.0, 0.0, 0.0, 0
    squares, known, adjacent = 0.0, 0, False
    p = 0
    for i in range(len(row)):
        level += trend
        plain = level + seasonal[p]
        carried *= phi
        expected[i] = plain + carried
        v = row[i]
        if v == v:
            new = v - plain
            if adjacent:
                before += error * error
                both += error * new
                after += new * new
                pairs += 1
            squares += new * new
            known += 1
            level += alpha * new
            trend += to_trend * new
            seasonal[p] += to_season * new
            error = carried = new
        adjacent = v == v
        p = p + 1 if p + 1 < season else 0
    if 2 * pairs < known or before == 0.0:  # mostly alone: what neighbours have in common cannot be told
        return squares / max(known, 1), 0.0
    shared = min(max(both / before, 0.0), 0.995)
    return (after - 2.0 * shared * both + shared * shared * before) / pairs, shared


@njit(nogil=True, cache=True)
def _widths(season, alpha, beta, gamma, phi, wide):  # type: ignore[no-untyped-def]
    """wide[h]: the variance of an expectation h points ahead, in that of one point ahead (Hyndman's c_j)."""
    to_trend, to_season = alpha * beta, gamma * (1.0 - alpha)
    weight, total = 1.0, 1.0
    wide[0] = 0.0
    for h in range(1, len(wide)):
        wide[h] = total
        weight = alpha + to_trend * h + (to_season if h % season == 0 else 0.0) + phi * weight
        total += weight * weight


@njit(nogil=True, cache=True)
def _spread(row, variance, phi, alpha, seen, centre, apart, wide, expected, spread):  # type: ignore[no-untyped-def]
    """Standard deviations: of what comes, and of level, trend and season being estimated (1 / seen seasons)."""
    ahead = 0
    own = variance / (1.0 - phi * phi)
    fewer = (1.0 + phi) / (1.0 - phi)  # neighbours that resemble each other tell less than they count
    for i in range(len(row)):
        ahead += 1
        away = float(ahead) if alpha > 0.0 else i - centre
        estimated = own * (seen + fewer * away * away / apart)
        if expected[i] == expected[i]:
            spread[i] = np.sqrt(variance * wide[ahead] + estimated)
        if row[i] == row[i]:
            ahead = 0
